{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

-- One row per day and token kind without a rate, with what the rate card lacks.
{%- set tier = {
    'usage_type': "if(usage_type = '', 'standard', usage_type)", 'context_window': 'priced_context_window',
    'inference_geo': "if(inference_geo = 'global', '', inference_geo)", 'speed': "if(speed = '', 'standard', speed)"
} %}
with usage as (
    select * from {{ ref('int_usage') }}
    where array_length(unpriced_kinds) > 0 and {{ in_scope('usage_date') }}
),

rates as (
    select * from {{ source('raw', 'rate_card') }}
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

-- The tier values for which a kind has rates on a day.
card as (
    select
        usage.usage_date,
        rates.provider,
        rates.model,
        rates.token_kind,
        {% for dimension in tier -%}
        list(distinct rates.{{ dimension }}) as {{ dimension }}s{{ ',' if not loop.last }}
        {% endfor %}
    from (select distinct usage_date, provider, model, token_kind from unpivoted) as usage
    inner join rates
        on
            usage.provider = rates.provider and usage.model = rates.model and usage.token_kind = rates.token_kind
            and usage.usage_date >= rates.valid_from and (rates.valid_to is null or usage.usage_date < rates.valid_to)
    group by usage.usage_date, rates.provider, rates.model, rates.token_kind
),

-- The tier value without any rate of the kind; if each value has rates, but not the combination, the whole tier.
compared as (
    select
        unpivoted.*,
        card.model is not null as has_day,
        (unpivoted.provider, unpivoted.model, unpivoted.token_kind)
        in (select (rates.provider, rates.model, rates.token_kind) from rates) as has_kind,
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
        (unpivoted.provider, unpivoted.model) in (select (rates.provider, rates.model) from rates) as has_model
    from unpivoted
    left join card using (usage_date, provider, model, token_kind)
)

select
    usage_date, source, provider, model, model_version, usage_type, context_window, inference_geo, speed, token_kind,
    case
        when not has_model then 'model'
        when not has_kind then 'token_kind=' || token_kind
        when not has_day then 'usage_date'
        when lacks <> '' then lacks
        when specials <> '' then specials
        else 'usage_date'
    end as missing,
    sum(tokens)::bigint as tokens,
    count(*) as usage_rows
from compared
group by all
