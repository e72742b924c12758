{{ config(
    materialized='scoped', scope_column='usage_date', scope_of='reconciliation_days',
    post_hook="{{ finish_reconciliation(this) }}"
) }}

{#
    The provider's usage at the rate card, our logs at the rate card, and the provider's bill side by side, with a
    status for their difference. int_reconciliation_sides determines which sides are compared.
#}
-- depends_on: {{ ref('int_reconciliation_days') }}, {{ ref('int_reconciliation_keys') }}
with sides as (
    select * from {{ ref('int_reconciliation_sides') }}
    where {{ in_scope('usage_date', 'reconciliation_days') }}
),

confirmed_rates as (
    select * from {{ ref('int_confirmed_rates') }}
),

differences as (
    select
        sides.*,
        {{ computed_cost('sides') }} as computed_cost_usd,
        sides.console_tokens - sides.logged_tokens as token_gap,
        (sides.billed_cost_usd - if(sides.has_logged, sides.logged_cost_usd, sides.console_cost_usd))::decimal(38, 12)
            as cost_gap_usd,
        (sides.billed_cost_usd - sides.console_cost_usd)::decimal(38, 12) as billed_beyond_console_usd,
        -- how far the bill is above the maximum, or below the minimum, that the logs can account for
        (sides.billed_cost_usd - sides.logged_cost_high_usd)::decimal(38, 12) as billed_beyond_logs_usd,
        (sides.logged_cost_low_usd - sides.billed_cost_usd)::decimal(38, 12) as logs_beyond_billed_usd,
        if(coalesce(sides.console_tokens, 0) > 0, sides.console_tokens, sides.logged_tokens_high) as tokens_at_most,
        if(coalesce(sides.console_tokens, 0) > 0, sides.console_tokens, sides.logged_tokens_low) as tokens_at_least,
        -- another cell of this model and kind ties out, and no single rate explains both: the rate is right, the tokens
        -- are not
        coalesce(
            confirmed_rates.least_multiple > {{ billed_multiple('+', computed_cost('sides')) }}, false
        ) as is_rate_confirmed
    from sides
    left join confirmed_rates
        on
            sides.provider = confirmed_rates.provider
            and sides.model = confirmed_rates.model
            and sides.token_kind = confirmed_rates.token_kind
),

---------- what may hold of a cell

two_sides as (
    select
        *,
        has_console and has_billed as has_console_and_billed,
        has_console and has_logged as has_console_and_logged,
        has_billed and has_logged and not has_console as has_only_billed_and_logged,
        billed_beyond_console_usd > rounding_tolerance_usd as is_billed_beyond_console,
        logs_beyond_billed_usd > rounding_tolerance_usd as is_logged_beyond_billed,
        if(has_logged, billed_beyond_logs_usd, billed_cost_usd) > rounding_tolerance_usd as is_billed_beyond_logs
    from differences
),

tested as (
    select
        *,
        -- kinds that only bills have (code execution, session usage)
        not (has_console_and_billed or has_console_and_logged or has_only_billed_and_logged)
        or token_kind not in ('{{ rate_columns().values() | join("', '") }}') as is_not_comparable,
        (has_console and console_cost_usd is null) or (has_logged and logged_cost_usd is null) as is_unpriced,
        (has_console_and_billed and console_ends_inside_day and is_billed_beyond_console)
        or (has_console_and_logged and console_ends_before_logs and logged_tokens_low > console_tokens)
        or (has_only_billed_and_logged and billed_ends_before_logs and is_logged_beyond_billed) as is_late,
        (
            has_console_and_billed and console_tokens > 0 and billed_rows > 0
            and abs(billed_beyond_console_usd) > rounding_tolerance_usd
        )
        or (has_only_billed_and_logged and billed_cost_usd > 0 and is_logged_beyond_billed and not is_rate_confirmed)
            as is_mispriced,
        (has_console_and_logged and console_tokens > logged_tokens_high)
        or (has_billed and coalesce(console_tokens, 0) = 0 and is_billed_beyond_logs) as is_unlogged,
        (has_console_and_billed and billed_rows = 0 and console_cost_usd > 0)
        or (has_only_billed_and_logged and is_logged_beyond_billed)
        or (
            has_console_and_logged and console_tokens < logged_tokens_low
            -- unless the bill confirms logs that are missing in the usage export
            and not (coalesce(console_tokens = 0 and billed_cost_usd > 0, false) and not is_logged_beyond_billed)
        ) as is_unbilled
    from two_sides
),

---------- the first that holds

with_status as (
    select
        *,
        case
            when is_outside then 'out_of_scope'
            when is_not_comparable then 'not_comparable'
            when is_unpriced then 'unpriced'
            when is_late then 'late'
            when is_mispriced then 'mispriced'
            when is_unlogged then 'unlogged'
            when is_unbilled then 'unbilled'
            when has_logged and logged_tokens_low < logged_tokens_high then 'consistent'
            when has_billed and cost_gap_usd <> 0 then 'within_rounding'
            else 'matched'
        end as status
    from tested
),

-- A rate error below this share keeps the cell within its tolerance. Only cells with certain tokens show a rate: those
-- of the provider's own usage, or of logs that tie out.
detected as (
    select
        *,
        if(
            billed_rows > 0 and status not in ('out_of_scope', 'not_comparable', 'unpriced', 'late')
            and (has_console or status in ('matched', 'within_rounding', 'mispriced')),
            (rounding_tolerance_usd + abs(billed_cost_usd - computed_cost_usd))::double / nullif(computed_cost_usd, 0)::double,
            null
        ) as detectable_rate_change
    from with_status
)

select
    usage_date, provider, model, api_key, workspace, token_kind,
    concat_ws('+', if(has_console, 'console', null), if(has_billed, 'billed', null), if(has_logged, 'logged', null))
        as compared,
    console_tokens,
    logged_tokens,
    logged_tokens_low,
    logged_tokens_high,
    billed_cost_usd,
    console_cost_usd,
    logged_cost_usd,
    billed_rows,
    rounding_tolerance_usd,
    token_gap,
    cost_gap_usd,
    if(
        billed_rows > 0 and tokens_at_most > 0,
        greatest(billed_cost_usd - rounding_tolerance_usd, 0)::double * 1e6 / tokens_at_most, null
    ) as implied_rate_low,
    if(
        billed_rows > 0 and tokens_at_least > 0,
        (billed_cost_usd + rounding_tolerance_usd)::double * 1e6 / tokens_at_least, null
    ) as implied_rate_high,
    status,
    logged_cost_low_usd,
    logged_cost_high_usd,
    scope,
    detectable_rate_change,
    status <> 'mispriced' and coalesce(detectable_rate_change > 0.05, false) as is_undetectable
from detected
order by usage_date, model, workspace, api_key, token_kind
