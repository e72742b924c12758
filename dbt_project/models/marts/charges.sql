{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    All usage by day, user and rate: tokens x rate = cost, exactly. Everything else that is priced starts here:
    FOCUS, chargeback, what-if repricing, and the check of the rate card.
#}
with usage as (
    select * from {{ ref('int_usage') }}
    where {{ in_scope('usage_date') }}
),

card as (
    select * from {{ source('raw', 'rate_card') }}
),

withheld as (
    select not publish_contract_rates as is_contract_withheld from {{ source('raw', 'settings') }}
),

-- The priced tier: dimensions that a source does not state are standard, as in int_usage.
by_tier as (
    select
        usage_date,
        source,
        provider,
        model,
        api_key,
        workspace,
        user_id,
        project,
        billing_mode,
        is_in_force,
        if(usage_type = '', 'standard', usage_type) as usage_type,
        priced_context_window as context_window,
        if(inference_geo = 'global', '', inference_geo) as inference_geo,
        if(speed = '', 'standard', speed) as speed,
        {% for kind, tokens in priced_tokens().items() -%}
        sum({{ tokens }})::bigint as {{ kind }}_tokens{{ ',' if not loop.last }}
        {% endfor %}
    from usage
    group by all
),

by_kind as (
    {% for kind in priced_tokens() -%}
    select
        usage_date, source, provider, model, api_key, workspace, user_id, project, billing_mode,
        usage_type, context_window, inference_geo, speed, is_in_force,
        '{{ kind }}' as token_kind,
        {{ kind }}_tokens as tokens
    from by_tier
    where {{ kind }}_tokens > 0
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

allocated as (
    {{ allocation_of('by_tier') }}
)

select
    by_kind.usage_date, by_kind.source, by_kind.provider, by_kind.model, by_kind.api_key, by_kind.workspace, by_kind.user_id,
    by_kind.project, by_kind.billing_mode, by_kind.usage_type, by_kind.context_window, by_kind.inference_geo, by_kind.speed,
    by_kind.token_kind, by_kind.tokens,
    if(card.is_override and withheld.is_contract_withheld, null, card.usd_per_mtok) as usd_per_mtok,
    card.list_usd_per_mtok,
    if(card.is_override and withheld.is_contract_withheld, 'override', card.origin) as rate_origin,
    card.is_override,
    {{ money('by_kind.tokens', 'card.usd_per_mtok') }} as cost_usd,
    {{ money('by_kind.tokens', 'card.list_usd_per_mtok') }} as list_cost_usd,
    by_kind.is_in_force,
    coalesce(allocated.team, '') as team
from by_kind
cross join withheld
left join card
    on {{ at_rate('by_kind', 'card', by_kind=true) }}
left join allocated
    on
        by_kind.usage_date = allocated.usage_date
        and by_kind.api_key = allocated.api_key
        and by_kind.workspace = allocated.workspace
        and by_kind.user_id = allocated.user_id
        and by_kind.project = allocated.project
order by usage_date, source, model, api_key, workspace, user_id, token_kind
