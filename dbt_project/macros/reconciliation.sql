{# The status of a cell of usage_reconciliation: each is asked only after those before it. #}
{% macro reconciliation_status() -%}
    case
        when is_outside then 'out_of_scope'
        -- what usage exports and logs do not list (code execution, session usage) is only ever billed
        when n_sides < 2 or token_kind not in ('{{ rate_columns().values() | join("', '") }}') then 'not_comparable'
        when
            (has_console and console_cost_usd is null) or (has_logged and logged_cost_usd is null)
            then 'unpriced'
        when
            (
                has_console and has_billed and console_ends_inside_day
                and billed_beyond_console_usd > rounding_tolerance_usd
            )
            or (has_console and has_logged and console_ends_before_logs and logged_tokens_low > console_tokens)
            or (
                has_billed and has_logged and not has_console and billed_ends_before_logs
                and logs_beyond_billed_usd > rounding_tolerance_usd
            )
            then 'late'
        when
            has_console and has_billed and console_tokens > 0 and billed_rows > 0
            and abs(billed_beyond_console_usd) > rounding_tolerance_usd
            then 'mispriced'
        when
            has_billed and has_logged and not has_console and billed_cost_usd > 0
            and logs_beyond_billed_usd > rounding_tolerance_usd and not is_rate_confirmed
            then 'mispriced'
        when
            (has_console and has_logged and console_tokens > logged_tokens_high)
            or (
                has_billed and coalesce(console_tokens, 0) = 0
                and if(has_logged, billed_beyond_logs_usd, billed_cost_usd) > rounding_tolerance_usd
            )
            then 'unlogged'
        when
            (has_console and has_billed and billed_rows = 0 and console_cost_usd > 0)
            or (has_billed and has_logged and not has_console and logs_beyond_billed_usd > rounding_tolerance_usd)
            or (
                has_console and has_logged and console_tokens < logged_tokens_low
                -- unless the bill confirms logs of which the usage export knows nothing
                and not (
                    coalesce(console_tokens = 0 and billed_cost_usd > 0, false)
                    and logs_beyond_billed_usd <= rounding_tolerance_usd
                )
            )
            then 'unbilled'
        when has_logged and logged_tokens_low < logged_tokens_high then 'consistent'
        when has_billed and cost_gap_usd <> 0 then 'within_rounding'
        else 'matched'
    end
{%- endmacro %}
