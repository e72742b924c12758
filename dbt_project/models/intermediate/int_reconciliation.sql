{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    The three sides of a day in long form: the provider's usage (console), our logs (logged) and the bill (billed),
    by model, key and token kind. Usage known only from a session-level row is on the day on which the session
    started, with its last day. Usage within a subscription is on no bill and left out.
#}
with usage as (
    select * from {{ ref('int_usage') }}
    where billing_mode = 'metered' and {{ in_scope('usage_date') }}
),

rates as (
    select * from {{ ref('int_rates') }}
),

billed_costs as (
    select * from {{ ref('billed_costs') }}
    where {{ in_scope('usage_date') }}
),

-- Summed before pricing: rate x sum is exactly the sum of rate x part.
usage_by_tier as (
    select
        usage_date,
        if(source = 'console', 'console', 'logged') as side,
        source_format,
        provider,
        model,
        api_key,
        workspace,
        key_origin,
        record_kind = 'session' as is_session,
        if(record_kind = 'session', last_at::date, usage_date) as last_usage_date,
        priced_context_window as context_window,
        if(usage_type = '', 'standard', usage_type) as usage_type,
        if(inference_geo = 'global', '', inference_geo) as inference_geo,
        if(speed = '', 'standard', speed) as speed,
        max(last_at) as known_to,
        {% for column in rate_columns() | list + part_kinds() | list -%}
        sum({{ column }}) as {{ column }}{{ ',' if not loop.last }}
        {% endfor %}
    from usage
    group by all
),

rated as (
    select
        usage.*,
        {% for kind in priced_tokens() -%}
        rates.{{ kind }}_usd_per_mtok{{ ',' if not loop.last }}
        {% endfor %}
    from usage_by_tier as usage
    left join rates
        on {{ at_rate('usage', 'rates') }}
),

by_kind as (
    {% for column, kind in rate_columns().items() -%}
    select
        usage_date, side, source_format, provider, model, api_key, workspace, key_origin, is_session, last_usage_date, known_to,
        '{{ kind }}' as token_kind,
        {{ column }} as tokens,
        {{ cost_of_kind(column) }} as cost_usd
    from rated
    where {{ column }} > 0
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

usage_cells as (
    select
        usage_date,
        side,
        source_format,
        provider,
        model,
        api_key,
        workspace,
        key_origin,
        token_kind,
        is_session,
        last_usage_date,
        sum(tokens)::bigint as tokens,
        -- a cell with unpriced tokens has no price
        if(bool_or(cost_usd is null), null, sum(cost_usd))::decimal(38, 12) as cost_usd,
        0::bigint as cost_rows,
        0::decimal(38, 12) as rounding_tolerance_usd,
        max(known_to) as known_to
    from by_kind
    group by all
),

billed_cells as (
    select
        usage_date,
        'billed' as side,
        'console_cost' as source_format,
        provider,
        model,
        api_key,
        workspace,
        'stated' as key_origin,
        token_kind,
        false as is_session,
        usage_date as last_usage_date,
        0::bigint as tokens,
        sum(cost_usd)::decimal(38, 12) as cost_usd,
        sum(cost_rows)::bigint as cost_rows,
        sum(rounding_tolerance_usd)::decimal(38, 12) as rounding_tolerance_usd,
        usage_date::timestamp + interval 1 day as known_to
    from billed_costs
    group by all
)

select * from usage_cells
union all
select * from billed_cells
