{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    The provider's usage at the rate card against the provider's bill, by day, model, key, workspace and kind.
    A side takes part on a day only if one of its files covers that day; then a missing row of it is zero.
    The logs' columns are null until logs are assigned to billed keys.
#}
with files as (
    select * from {{ source('ingest', 'files') }}
    where status = 'loaded' and rows_loaded > 0
),

usage as (
    select * from {{ ref('int_usage') }}
    where source = 'console' and {{ in_scope('usage_date') }}
),

rates as (
    select * from {{ ref('int_rates') }}
),

billed as (
    select
        usage_date,
        provider,
        model,
        api_key,
        workspace,
        token_kind,
        sum(cost_usd) as billed_cost_usd,
        sum(cost_rows) as billed_rows
    from {{ ref('billed_costs') }}
    where {{ in_scope('usage_date') }}
    group by all
),

console as (
    {% for column, kind in rate_columns().items() -%}
    select
        usage.usage_date,
        usage.provider,
        usage.model,
        usage.api_key,
        usage.workspace,
        '{{ kind }}' as token_kind,
        sum(usage.{{ column }}) as console_tokens,
        -- a cell with tokens of unknown price has no price
        if(bool_or(list_contains(usage.unpriced_kinds, '{{ kind }}')), null, sum({{ money('usage.' ~ column, 'rates.' ~ kind ~ '_usd_per_mtok') }}))
            as console_cost_usd,
        max(usage.usage_minute + to_seconds(usage.bucket_seconds)) as known_to
    from usage
    left join rates
        on
            usage.model = rates.model
            and (usage.provider = rates.provider or rates.provider = '')
            and if(usage.context_window = '', '0-200k', usage.context_window) = rates.context_window
            and if(usage.usage_type = '', 'standard', usage.usage_type) = rates.usage_type
            and if(usage.inference_geo = 'global', '', usage.inference_geo) = rates.inference_geo
            and if(usage.speed = '', 'standard', usage.speed) = rates.speed
            and usage.usage_date >= rates.valid_from
            and (rates.valid_to is null or usage.usage_date < rates.valid_to)
    where usage.{{ column }} > 0
    group by all
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

-- How far the console's rows of a day reach: where no export goes on after it, an hour or minute export may end inside it.
console_days as (
    select
        usage_date,
        max(usage_minute + to_seconds(bucket_seconds)) as known_to
    from usage
    group by usage_date
),

covered as (
    select
        format,
        last_usage_date,
        unnest(generate_series(first_usage_date::timestamp, last_usage_date::timestamp, interval 1 day))::date
            as usage_date
    from files
    where format in ('console_usage', 'console_cost')
),

coverage as (
    select
        usage_date,
        bool_or(format = 'console_usage') as has_console,
        bool_or(format = 'console_usage' and last_usage_date > usage_date) as console_goes_on,
        bool_or(format = 'console_cost') as has_billed
    from covered
    group by usage_date
),

joined as (
    select
        usage_date,
        provider,
        model,
        api_key,
        workspace,
        token_kind,
        coalesce(coverage.has_console, false) as has_console,
        coalesce(coverage.has_billed, false) as has_billed,
        if(has_console, coalesce(console.console_tokens, 0), null)::bigint as console_tokens,
        if(has_billed, coalesce(billed.billed_cost_usd, 0), null)::decimal(38, 12) as billed_cost_usd,
        case
            when not has_console then null
            when console.console_tokens is null then 0
            else console.console_cost_usd
        end::decimal(38, 12) as console_cost_usd,
        if(has_billed, coalesce(billed.billed_rows, 0), null)::bigint as billed_rows,
        not coalesce(coverage.console_goes_on, false)
        and coalesce(console_days.known_to, usage_date::timestamp) < usage_date::timestamp + interval 1 day as ends_inside_day
    from console
    full join billed using (usage_date, provider, model, api_key, workspace, token_kind)
    left join coverage using (usage_date)
    left join console_days using (usage_date)
),

compared as (
    select
        *,
        concat_ws('+', if(has_console, 'console', null), if(has_billed, 'billed', null)) as compared,
        (0.005 * billed_rows)::decimal(38, 12) as rounding_tolerance_usd,
        (billed_cost_usd - console_cost_usd)::decimal(38, 12) as cost_gap_usd
    from joined
)

select
    usage_date,
    provider,
    model,
    api_key,
    workspace,
    token_kind,
    compared,
    console_tokens,
    null::bigint as logged_tokens,
    null::bigint as logged_tokens_low,
    null::bigint as logged_tokens_high,
    billed_cost_usd,
    console_cost_usd,
    null::decimal(38, 12) as logged_cost_usd,
    billed_rows,
    rounding_tolerance_usd,
    null::bigint as token_gap,
    cost_gap_usd,
    if(has_billed and console_tokens > 0, greatest(billed_cost_usd - rounding_tolerance_usd, 0)::double * 1e6 / console_tokens, null)
        as implied_rate_low,
    if(has_billed and console_tokens > 0, (billed_cost_usd + rounding_tolerance_usd)::double * 1e6 / console_tokens, null)
        as implied_rate_high,
    case
        when not (has_console and has_billed) then 'not_comparable'
        -- what usage exports do not list (code execution, session usage) is only ever billed
        when token_kind not in ({% for kind in rate_columns().values() %}'{{ kind }}'{{ ', ' if not loop.last }}{% endfor %})
            then 'not_comparable'
        when console_cost_usd is null then 'unpriced'
        when cost_gap_usd = 0 then 'matched'
        when abs(cost_gap_usd) <= rounding_tolerance_usd then 'within_rounding'
        when cost_gap_usd > 0 and ends_inside_day then 'late'
        when billed_rows = 0 then 'unbilled'
        when console_tokens = 0 then 'unlogged'
        else 'mispriced'
    end as status
from compared
order by usage_date, model, workspace, api_key, token_kind
