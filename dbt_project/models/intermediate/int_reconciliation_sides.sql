{{ config(
    materialized='scoped', scope_column='usage_date', scope_of='reconciliation_days', pre_hook="{{ plan_reconciliation() }}"
) }}

{#
    The provider's usage at the rate card, our logs at the rate card, and the provider's bill in one row, by day,
    model, key, workspace and token kind. A side is compared on a day only if a file of it covers the day; missing
    rows then count as zero. An export covers all days from its first to its last; logs of a format cover all days
    from the first to the last of all their files.
#}
with cells as (
    select * from {{ ref('int_reconciliation') }}
),

days as (
    select * from {{ ref('int_reconciliation_days') }}
    where {{ in_scope('usage_date', 'reconciliation_days') }}
),

keys as (
    select * from {{ ref('int_reconciliation_keys') }}
    where {{ in_scope('usage_date', 'reconciliation_days') }}
),

subscriptions as (
    select distinct api_key from {{ source('raw', 'billing_modes') }}
    where api_key <> '' and billing_mode = 'subscription'
),

---------- what each side says, by the key that pays

account as (
    select
        usage_date, provider, model, api_key, workspace, token_kind, side, '' as scope,
        tokens, 0 as tokens_low, 0 as tokens_high,
        cost_usd, 0 as cost_low_usd, 0 as cost_high_usd, cost_rows, rounding_tolerance_usd
    from cells
    where side in ('console', 'billed') and {{ in_scope('usage_date', 'reconciliation_days') }}
),

-- A session across midnight may have used its tokens on any of its days, so no day has them for certain.
logs as (
    select
        {{ each_day('cells.usage_date', 'cells.last_usage_date') }} as usage_date,
        cells.usage_date as first_date,
        cells.last_usage_date as last_date,
        cells.provider,
        cells.model,
        case when cells.key_origin = '' then paying_keys.api_key else cells.api_key end as api_key,
        coalesce(paying_keys.workspace, cells.workspace) as workspace,
        cells.token_kind,
        case when cells.key_origin = '' then paying_keys.scope else cells.key_origin end as scope,
        cells.tokens,
        cells.cost_usd
    from cells
    left join {{ ref('int_paying_keys') }} as paying_keys
        on
            cells.key_origin = ''
            and cells.source_format = paying_keys.source_format
            and cells.provider = paying_keys.provider
    where cells.side = 'logged'
),

sides as (
    select * from account
    union all
    select
        usage_date, provider, model, api_key, workspace, token_kind, 'logged' as side, scope,
        if(usage_date = first_date, tokens, 0) as tokens,
        if(first_date = last_date, tokens, 0) as tokens_low,
        tokens as tokens_high,
        case when usage_date = first_date then cost_usd when cost_usd is not null then 0 end as cost_usd,
        case when first_date = last_date then cost_usd when cost_usd is not null then 0 end as cost_low_usd,
        cost_usd as cost_high_usd,
        0 as cost_rows,
        0 as rounding_tolerance_usd
    from logs
    where {{ in_scope('usage_date', 'reconciliation_days') }}
),

---------- at the grain that they share

named as (
    select
        sides.usage_date, sides.provider, sides.model, sides.token_kind, sides.side, sides.scope,
        days.is_collapsed and sides.scope not in ('unassigned', 'unknown') as is_collapsed,
        if(days.is_collapsed and sides.scope not in ('unassigned', 'unknown'), '', sides.api_key) as api_key,
        case
            when days.is_collapsed and sides.scope not in ('unassigned', 'unknown') then ''
            when sides.workspace = '' or sides.side = 'logged' then coalesce(keys.workspace, sides.workspace)
            else sides.workspace
        end as workspace,
        sides.tokens, sides.tokens_low, sides.tokens_high,
        sides.cost_usd, sides.cost_low_usd, sides.cost_high_usd, sides.cost_rows, sides.rounding_tolerance_usd
    from sides
    inner join days
        on sides.usage_date = days.usage_date and sides.provider = days.provider
    left join keys
        on sides.usage_date = keys.usage_date and sides.provider = keys.provider and sides.api_key = keys.api_key
),

-- Logs without a workspace are compared over all workspaces.
keys_without_workspace as (
    select distinct usage_date, provider, api_key
    from named
    where workspace = ''
),

joined as (
    select
        named.usage_date,
        named.provider,
        named.model,
        named.api_key,
        if(shared.api_key is null, named.workspace, '') as workspace,
        named.token_kind,
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
    from named
    left join keys_without_workspace as shared
        on
            named.usage_date = shared.usage_date
            and named.provider = shared.provider
            and named.api_key = shared.api_key
    group by
        named.usage_date, named.provider, named.model, named.api_key, if(shared.api_key is null, named.workspace, ''),
        named.token_kind
),

---------- which sides take part

present_sides as (
    select
        joined.*,
        days.is_console_day or joined.console_tokens is not null as has_console,
        days.is_billed_day or joined.billed_cost_usd is not null as has_billed,
        (
            joined.is_unassigned
            or joined.is_unknown
            or joined.is_collapsed
            or days.is_open_day
            or coalesce(keys.is_logged_day, false)
        )
        and (days.is_logged_day or joined.logged_tokens is not null) as has_logged,
        days.is_logged_day,
        -- logs cover a known list of keys, without this one
        days.has_logs and not days.is_open and not joined.is_collapsed and not joined.is_unknown and keys.scope is null
            as is_other_key,
        keys.scope as key_scope,
        subscriptions.api_key is not null as is_subscription,
        days.console_ends_inside_day,
        days.console_ends_before_logs,
        days.billed_ends_before_logs
    from joined
    inner join days
        on joined.usage_date = days.usage_date and joined.provider = days.provider
    left join keys
        on joined.usage_date = keys.usage_date and joined.provider = keys.provider and joined.api_key = keys.api_key
    left join subscriptions
        on joined.api_key = subscriptions.api_key
),

scoped as (
    select
        *,
        is_unassigned or is_subscription or (is_other_key and (is_logged_day or not (has_console and has_billed)))
            as is_outside
    from present_sides
)

select
    usage_date, provider, model, api_key, workspace, token_kind,
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
    if(has_console and not is_console_unpriced, coalesce(console_cost_usd, 0), null)::decimal(38, 12) as console_cost_usd,
    if(has_logged and not is_logged_unpriced, coalesce(logged_cost_usd, 0), null)::decimal(38, 12) as logged_cost_usd,
    if(has_logged and not is_logged_unpriced, coalesce(logged_cost_low_usd, 0), null)::decimal(38, 12)
        as logged_cost_low_usd,
    if(has_logged and not is_logged_unpriced, coalesce(logged_cost_high_usd, 0), null)::decimal(38, 12)
        as logged_cost_high_usd,
    if(has_billed, coalesce(billed_rows, 0), null)::bigint as billed_rows,
    if(has_billed, coalesce(rounding_tolerance_usd, 0), null)::decimal(38, 12) as rounding_tolerance_usd,
    console_ends_inside_day,
    console_ends_before_logs,
    billed_ends_before_logs
from scoped
