{#
    The provider's usage at the rate card, our logs at the rate card, and the provider's bill, side by side: by day, model,
    key, workspace and kind.

    A side takes part on a day only if some file of its kind covers that day; then a row that it lacks is zero. Exports
    cover the days from their first to their last; logs of one format, which list only what happened, the days from the
    first to the last of all of them. Built whole, from one row a day and cell: which key pays for logs rests on all days.
#}
{%- set grain = 'usage_date, provider, model, api_key, workspace, token_kind' -%}
{%- set key = 'provider, api_key, workspace' -%}

with cells as (
    select * from {{ ref('int_reconciliation') }}
),

files as (
    select * from {{ source('ingest', 'files') }}
    where status = 'loaded' and rows_loaded > 0 and first_usage_date is not null
),

rules as (
    select count(*) > 0 as is_declared from {{ source('raw', 'reconciliation_scope') }}
),

subscriptions as (
    select distinct api_key from {{ source('raw', 'billing_modes') }}
    where api_key <> '' and billing_mode = 'subscription'
),

---------- which key pays for logs

-- Keys of the account that cost something on a day; where no bill covers it, keys that used something.
account_keys as (
    select usage_date, {{ key }}, side
    from cells
    where side in ('console', 'billed')
    group by all
    having if(side = 'billed', sum(cost_usd) <> 0, sum(tokens) > 0)
),

days_without_key as (
    select distinct source_format, provider, usage_date
    from cells
    where side = 'logged' and key_origin = ''
),

candidates as (
    select
        days.source_format,
        days.provider,
        account_keys.side,
        min({api_key: account_keys.api_key, workspace: account_keys.workspace}) as paying,
        count(distinct {api_key: account_keys.api_key, workspace: account_keys.workspace}) as n_keys
    from days_without_key as days
    inner join account_keys using (usage_date, provider)
    group by all
),

-- Where no key of the account used anything on the days of such logs, they are of another account.
known_accounts as (
    select distinct source_format, provider from candidates
),

inferred as (
    select
        source_format,
        provider,
        arg_min(paying, side) as paying
    from candidates
    where not (select is_declared from rules)
    group by source_format, provider
    -- 'billed' sorts before 'console'
    having arg_min(n_keys, side) = 1
),

logs as (
    select
        cells.* exclude (api_key, workspace, key_origin),
        if(cells.key_origin = '', coalesce(inferred.paying.api_key, ''), cells.api_key) as api_key,
        coalesce(if(cells.key_origin = '', inferred.paying.workspace, null), cells.workspace) as workspace,
        case
            when cells.key_origin <> '' then cells.key_origin
            when inferred.paying is not null then 'inferred'
            when (select is_declared from rules) then 'unassigned'
            when known_accounts.source_format is not null then 'collapsed'
            else 'unknown'
        end as scope
    from cells
    left join known_accounts using (source_format, provider)
    left join inferred
        on cells.key_origin = '' and cells.source_format = inferred.source_format and cells.provider = inferred.provider
    where cells.side = 'logged'
),

logs_in_scope as (
    select * from logs
    where scope not in ('unassigned', 'unknown')
),

---------- which side takes part

log_spans as (
    select
        source_format,
        provider,
        min(usage_date) as first_day,
        max(last_usage_date) as last_day,
        -- these logs speak for every key of the account
        bool_or(scope in ('stated', 'collapsed')) and not (select is_declared from rules) as is_open
    from logs_in_scope
    group by source_format, provider
),

log_providers as (
    select
        provider,
        bool_or(is_open) as is_open,
        max(last_day) as last_day
    from log_spans
    group by provider
),

log_days as (
    select
        provider,
        source_format,
        is_open,
        unnest(generate_series(first_day::timestamp, last_day::timestamp, interval 1 day))::date as usage_date
    from log_spans
),

logged_keys as (
    select
        provider,
        api_key,
        source_format,
        min(scope) as scope
    from logs_in_scope
    group by all
),

key_scopes as (
    select
        provider,
        api_key,
        min(scope) as scope
    from logged_keys
    group by all
),

-- Days on which logs speak for a key, and those on which they speak for all keys.
logged_key_days as (
    select distinct log_days.provider, log_days.usage_date, logged_keys.api_key
    from log_days
    inner join logged_keys using (provider, source_format)
),

logged_days as (
    select
        provider,
        usage_date,
        bool_or(is_open) as is_open
    from log_days
    group by all
),

covered as (
    select
        account_formats.provider,
        account_formats.side,
        files.last_usage_date,
        unnest(generate_series(files.first_usage_date::timestamp, files.last_usage_date::timestamp, interval 1 day))::date
            as usage_date
    from files
    inner join {{ account_formats() }} using (format)
),

exported_days as (
    select
        provider,
        usage_date,
        bool_or(side = 'console') as is_console_day,
        bool_or(side = 'console' and last_usage_date > usage_date) as console_goes_on,
        bool_or(side = 'billed') as is_billed_day
    from covered
    group by provider, usage_date
),

export_ends as (
    select
        provider,
        max(last_usage_date) filter (where side = 'console') as console_last_day,
        max(last_usage_date) filter (where side = 'billed') as billed_last_day
    from covered
    group by provider
),

-- Where no export goes on after a day, an hour or minute export may end inside it.
known_to as (
    select
        usage_date,
        provider,
        max(known_to) filter (where side = 'console') as console_known_to
    from cells
    group by all
),

logs_known_to as (
    select
        provider,
        usage_date,
        max(known_to) as logs_known_to
    from logs_in_scope
    group by all
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
        cost_usd, 0::decimal(38, 12) as cost_low_usd, 0::decimal(38, 12) as cost_high_usd, cost_rows
    from cells
    where side in ('console', 'billed')
    union all
    select
        day as usage_date, provider, model, api_key, workspace, token_kind, side, scope,
        if(day = usage_date, tokens, 0) as tokens,
        if(last_usage_date = usage_date, tokens, 0) as tokens_low,
        tokens as tokens_high,
        if(day = usage_date, cost_usd, if(cost_usd is null, null, 0))::decimal(38, 12) as cost_usd,
        if(last_usage_date = usage_date, cost_usd, if(cost_usd is null, null, 0))::decimal(38, 12) as cost_low_usd,
        cost_usd as cost_high_usd,
        0 as cost_rows
    from log_bounds
),

-- Where a side does not name the key and another one does, the keys of that day are one.
collapsed_days as (
    select usage_date, provider
    from sides
    where scope not in ('unassigned', 'unknown')
    group by usage_date, provider
    having bool_or(api_key = '') and bool_or(api_key <> '')
),

-- The workspace of a log is the one in which the account knows its key, if there is but one.
account_workspaces as (
    select
        provider,
        api_key,
        min(workspace) as workspace,
        count(distinct workspace) as n_workspaces
    from sides
    where workspace <> '' and side <> 'logged'
    group by provider, api_key
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
        coalesce(exported_days.is_console_day, false) or console_tokens is not null as has_console,
        coalesce(exported_days.is_billed_day, false) or billed_cost_usd is not null as has_billed,
        coalesce(
            is_unassigned or is_unknown or is_collapsed or logged_days.is_open or logged_key_days.usage_date is not null,
            false
        ) and (logged_days.usage_date is not null or logged_tokens is not null) as has_logged,
        -- the scope is closed, and does not hold the key
        coalesce(
            is_unassigned
            or subscriptions.api_key is not null
            or (
                log_providers.provider is not null
                and not coalesce(logged_days.is_open, log_providers.is_open)
                and not is_collapsed
                and not is_unknown
                and key_scopes.api_key is null
                and (logged_days.usage_date is not null or not (has_console and has_billed))
            ),
            false
        ) as is_outside,
        key_scopes.scope as key_scope,
        -- late: the export ends before the other side does
        not coalesce(exported_days.console_goes_on, false)
        and coalesce(known_to.console_known_to, joined.usage_date::timestamp) < joined.usage_date::timestamp + interval 1 day
            as console_ends_inside_day,
        coalesce(
            joined.usage_date = export_ends.console_last_day
            and (
                log_providers.last_day > joined.usage_date
                or logs_known_to.logs_known_to > coalesce(known_to.console_known_to, joined.usage_date::timestamp)
            ),
            false
        ) as console_ends_before_logs,
        coalesce(joined.usage_date = export_ends.billed_last_day and log_providers.last_day > joined.usage_date, false)
            as billed_ends_before_logs
    from joined
    left join exported_days using (usage_date, provider)
    left join logged_days using (usage_date, provider)
    left join logged_key_days using (usage_date, provider, api_key)
    left join key_scopes using (provider, api_key)
    left join log_providers using (provider)
    left join subscriptions using (api_key)
    left join known_to using (usage_date, provider)
    left join logs_known_to using (usage_date, provider)
    left join export_ends using (provider)
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
        console_ends_inside_day,
        console_ends_before_logs,
        billed_ends_before_logs
    from taking_part
),

differences as (
    select
        *,
        has_console::integer + has_billed::integer + has_logged::integer as n_sides,
        (0.005 * billed_rows)::decimal(38, 12) as rounding_tolerance_usd,
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
        if(
            billed_rows > 0 and computed_cost_usd > 0,
            (billed_cost_usd - rounding_tolerance_usd)::double / computed_cost_usd::double, null
        ) as multiple_low,
        if(
            billed_rows > 0 and computed_cost_usd > 0,
            (billed_cost_usd + rounding_tolerance_usd)::double / computed_cost_usd::double, null
        ) as multiple_high
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
