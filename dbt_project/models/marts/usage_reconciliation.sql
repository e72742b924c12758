{{ config(
    materialized='scoped', scope_column='usage_date', scope_of='reconciliation_days',
    pre_hook="{{ plan_reconciliation() }}", post_hook="{{ finish_reconciliation(this) }}"
) }}

{#
    The provider's usage at the rate card, our logs at the rate card, and the provider's bill, side by side: by day, model,
    key, workspace and kind.

    A side takes part on a day only if some file of its kind covers that day; then a row that it lacks is zero. Exports
    cover the days from their first to their last; logs of one format, which list only what happened, the days from the
    first to the last of all of them. Which key pays for logs, and the like, rests on all days: the days whose facts changed
    are built with those in scope (macros/reconciliation.sql).
#}
{%- set grain = 'usage_date, provider, model, api_key, workspace, token_kind' -%}

with {{ reconciliation_facts() }},

logs as (
    {{ logs_of('cells') }}
),

---------- the sides, at the grain that they share

-- A session that spans midnight may have used its tokens on any of its days: on none of them for sure.
log_bounds as (
    select
        unnest(generate_series(usage_date::timestamp, last_usage_date::timestamp, interval 1 day))::date as day,
        *
    from logs
),

sides as (
    select
        {{ grain }}, side, '' as scope,
        tokens, 0::bigint as tokens_low, 0::bigint as tokens_high,
        cost_usd, 0::decimal(38, 12) as cost_low_usd, 0::decimal(38, 12) as cost_high_usd, cost_rows, rounding_tolerance_usd
    from cells
    where side in ('console', 'billed') and {{ in_scope('usage_date', 'reconciliation_days') }}
    union all
    select
        day as usage_date, provider, model, api_key, workspace, token_kind, side, scope,
        if(day = usage_date, tokens, 0) as tokens,
        if(last_usage_date = usage_date, tokens, 0) as tokens_low,
        tokens as tokens_high,
        if(day = usage_date, cost_usd, if(cost_usd is null, null, 0))::decimal(38, 12) as cost_usd,
        if(last_usage_date = usage_date, cost_usd, if(cost_usd is null, null, 0))::decimal(38, 12) as cost_low_usd,
        cost_usd as cost_high_usd,
        0 as cost_rows,
        0 as rounding_tolerance_usd
    from log_bounds
    where {{ in_scope('day', 'reconciliation_days') }}
),

named as (
    select
        sides.* exclude (api_key, workspace),
        collapsed_days.usage_date is not null and sides.scope not in ('unassigned', 'unknown') as is_collapsed,
        if(is_collapsed, '', sides.api_key) as api_key,
        case
            when is_collapsed then ''
            when
                (sides.workspace = '' or sides.side = 'logged') and account_workspaces.n_workspaces = 1
                then account_workspaces.workspace
            else sides.workspace
        end as workspace
    from sides
    left join collapsed_days using (usage_date, provider)
    left join account_workspaces using (provider, api_key)
),

-- What is left without a workspace is compared over all of them.
shared as (
    select
        * exclude (workspace),
        if(bool_or(workspace = '') over (partition by usage_date, provider, api_key), '', workspace) as workspace
    from named
),

joined as (
    select
        {{ grain }},
        bool_or(is_collapsed) as is_collapsed,
        bool_and(scope = 'unassigned') as is_unassigned,
        bool_and(scope = 'unknown') as is_unknown,
        sum(tokens) filter (where side = 'console') as console_tokens,
        sum(tokens) filter (where side = 'logged') as logged_tokens,
        sum(tokens_low) filter (where side = 'logged') as logged_tokens_low,
        sum(tokens_high) filter (where side = 'logged') as logged_tokens_high,
        sum(cost_usd) filter (where side = 'billed') as billed_cost_usd,
        sum(cost_rows) filter (where side = 'billed') as billed_rows,
        sum(rounding_tolerance_usd) filter (where side = 'billed') as rounding_tolerance_usd,
        sum(cost_usd) filter (where side = 'console') as console_cost_usd,
        sum(cost_usd) filter (where side = 'logged') as logged_cost_usd,
        sum(cost_low_usd) filter (where side = 'logged') as logged_cost_low_usd,
        sum(cost_high_usd) filter (where side = 'logged') as logged_cost_high_usd,
        coalesce(bool_or(side = 'console' and cost_usd is null), false) as is_console_unpriced,
        coalesce(bool_or(side = 'logged' and cost_usd is null), false) as is_logged_unpriced
    from shared
    group by {{ grain }}
),

taking_part as (
    select
        joined.*,
        day_facts.is_console_day or console_tokens is not null as has_console,
        day_facts.is_billed_day or billed_cost_usd is not null as has_billed,
        (
            is_unassigned
            or is_unknown
            or joined.is_collapsed
            or day_facts.is_open_day
            or logged_key_days.usage_date is not null
        ) and (day_facts.is_logged_day or logged_tokens is not null) as has_logged,
        -- the scope is closed, and does not hold the key
        is_unassigned
        or subscriptions.api_key is not null
        or (
            day_facts.has_logs
            and not day_facts.is_open
            and not joined.is_collapsed
            and not is_unknown
            and key_scopes.api_key is null
            and (day_facts.is_logged_day or not (has_console and has_billed))
        ) as is_outside,
        key_scopes.scope as key_scope,
        day_facts.console_ends_inside_day,
        day_facts.console_ends_before_logs,
        day_facts.billed_ends_before_logs
    from joined
    inner join day_facts using (usage_date, provider)
    left join logged_key_days using (usage_date, provider, api_key)
    left join key_scopes using (provider, api_key)
    left join subscriptions using (api_key)
),

compared as (
    select
        {{ grain }},
        concat_ws(
            '+', if(has_console, 'console', null), if(has_billed, 'billed', null), if(has_logged, 'logged', null)
        ) as compared,
        has_console,
        has_billed,
        has_logged,
        is_outside,
        case
            when is_outside then 'outside'
            when not has_logged then ''
            when is_collapsed then 'collapsed'
            when is_unknown then 'unknown'
            else coalesce(key_scope, 'stated')
        end as scope,
        if(has_console, coalesce(console_tokens, 0), null)::bigint as console_tokens,
        if(has_logged, coalesce(logged_tokens, 0), null)::bigint as logged_tokens,
        if(has_logged, coalesce(logged_tokens_low, 0), null)::bigint as logged_tokens_low,
        if(has_logged, coalesce(logged_tokens_high, 0), null)::bigint as logged_tokens_high,
        if(has_billed, coalesce(billed_cost_usd, 0), null)::decimal(38, 12) as billed_cost_usd,
        if(has_console and not is_console_unpriced, coalesce(console_cost_usd, 0), null)::decimal(38, 12)
            as console_cost_usd,
        {% for column in ['logged_cost_usd', 'logged_cost_low_usd', 'logged_cost_high_usd'] -%}
        if(has_logged and not is_logged_unpriced, coalesce({{ column }}, 0), null)::decimal(38, 12) as {{ column }},
        {% endfor -%}
        if(has_billed, coalesce(billed_rows, 0), null)::bigint as billed_rows,
        if(has_billed, coalesce(rounding_tolerance_usd, 0), null)::decimal(38, 12) as rounding_tolerance_usd,
        console_ends_inside_day,
        console_ends_before_logs,
        billed_ends_before_logs
    from taking_part
),

differences as (
    select
        *,
        has_console::integer + has_billed::integer + has_logged::integer as n_sides,
        console_tokens - logged_tokens as token_gap,
        if(has_logged, billed_cost_usd - logged_cost_usd, billed_cost_usd - console_cost_usd)::decimal(38, 12)
            as cost_gap_usd,
        (billed_cost_usd - console_cost_usd)::decimal(38, 12) as billed_beyond_console_usd,
        -- how far the bill lies above the most, or below the least, that the logs can account for
        (billed_cost_usd - logged_cost_high_usd)::decimal(38, 12) as billed_beyond_logs_usd,
        (logged_cost_low_usd - billed_cost_usd)::decimal(38, 12) as logs_beyond_billed_usd,
        if(coalesce(console_tokens, 0) > 0, console_tokens, logged_tokens_high) as tokens_at_most,
        if(coalesce(console_tokens, 0) > 0, console_tokens, logged_tokens_low) as tokens_at_least
    from compared
),

-- What was billed, as a multiple of what the rate card makes of the tokens: the range that rounding leaves.
multiples as (
    select
        *,
        if(has_console, billed_beyond_console_usd, cost_gap_usd) as rate_gap_usd,
        if(has_console, console_cost_usd, logged_cost_usd) as computed_cost_usd,
        {{ billed_multiple('-', 'computed_cost_usd') }} as multiple_low,
        {{ billed_multiple('+', 'computed_cost_usd') }} as multiple_high
    from differences
),

-- Whether a cell of the same model and kind ties out, and no one rate explains both: then the rate is right, and the
-- tokens are not.
evidenced as (
    select
        *,
        coalesce(
            max(multiple_low) filter (where not is_outside and abs(rate_gap_usd) <= rounding_tolerance_usd)
                over (partition by provider, model, token_kind)
            > multiple_high,
            false
        ) as is_rate_confirmed
    from multiples
),

classed as (
    select
        *,
        {{ reconciliation_status() }} as status
    from evidenced
)

select
    {{ grain }},
    compared,
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
    -- A rate that is off by less than this share of it keeps the cell inside its tolerance. A cell tells of a rate where its
    -- tokens are not in doubt: the provider's own, or those of logs that tie out.
    if(
        billed_rows > 0 and status not in ('out_of_scope', 'not_comparable', 'unpriced', 'late')
        and (has_console or status in ('matched', 'within_rounding', 'mispriced')),
        (rounding_tolerance_usd + abs(rate_gap_usd))::double / nullif(computed_cost_usd, 0)::double,
        null
    ) as detectable_rate_change,
    status <> 'mispriced' and coalesce(detectable_rate_change > 0.05, false) as is_undetectable
from classed
order by usage_date, model, workspace, api_key, token_kind
