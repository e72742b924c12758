{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

-- One row a day and kind of token that has no rate, with what of it the rate card lacks.
{%- set tier = {
    'usage_type': "if(usage_type = '', 'standard', usage_type)", 'context_window': 'priced_context_window',
    'inference_geo': "if(inference_geo = 'global', '', inference_geo)", 'speed': "if(speed = '', 'standard', speed)"
} %}
with usage as (
    select * from {{ ref('int_usage') }}
    where array_length(unpriced_kinds) > 0 and {{ in_scope('usage_date') }}
),

card as (
    select
        provider,
        model,
        token_kind,
        {% for dimension in tier -%}
        list(distinct {{ dimension }}) as {{ dimension }}s{{ ',' if not loop.last }}
        {% endfor %}
    from {{ source('raw', 'rate_card') }}
    group by provider, model, token_kind
),

unpivoted as (
    {% for kind, tokens in priced_tokens().items() -%}
    select
        usage_date, source, provider, model, model_version, usage_type, context_window, inference_geo, speed,
        {% for dimension, value in tier.items() -%}
        {{ value }} as priced_{{ dimension }},
        {% endfor -%}
        '{{ kind }}' as token_kind,
        {{ tokens }} as tokens
    from usage
    where list_contains(unpriced_kinds, '{{ kind }}')
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

-- A value of the tier that no rate of the kind has; where rates have each value, but not together, all of the tier.
compared as (
    select
        unpivoted.*,
        card.model is not null as has_kind,
        concat_ws(
            ', ',
            {% for dimension in tier -%}
            if(not list_contains(card.{{ dimension }}s, priced_{{ dimension }}), '{{ dimension }}=' || priced_{{ dimension }}, null)
            {{- ',' if not loop.last }}
            {% endfor %}
        ) as lacks,
        concat_ws(
            ', ',
            if(priced_usage_type <> 'standard', 'usage_type=' || priced_usage_type, null),
            if(priced_context_window <> '0-200k', 'context_window=' || priced_context_window, null),
            if(priced_inference_geo <> '', 'inference_geo=' || priced_inference_geo, null),
            if(priced_speed <> 'standard', 'speed=' || priced_speed, null)
        ) as specials,
        (unpivoted.provider, unpivoted.model) in (select (card.provider, card.model) from card) as has_model
    from unpivoted
    left join card using (provider, model, token_kind)
)

select
    usage_date, source, provider, model, model_version, usage_type, context_window, inference_geo, speed, token_kind,
    case
        when not has_model then 'model'
        when not has_kind then 'token_kind=' || token_kind
        when lacks <> '' then lacks
        when specials <> '' then specials
        else 'usage_date'
    end as missing,
    sum(tokens)::bigint as tokens,
    count(*) as usage_rows
from compared
group by all
