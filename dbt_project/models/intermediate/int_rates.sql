-- The rate card with one row per model, tier and period, and a column for the rate of each kind.
with card as (
    select * from {{ source('raw', 'rate_card') }}
),

boundaries as (
    select provider, model, context_window, usage_type, inference_geo, speed, valid_from as boundary from card
    union
    select provider, model, context_window, usage_type, inference_geo, speed, valid_to as boundary from card
    where valid_to is not null
),

periods as (
    select
        provider, model, context_window, usage_type, inference_geo, speed,
        boundary as valid_from,
        lead(boundary) over (
            partition by provider, model, context_window, usage_type, inference_geo, speed order by boundary
        ) as valid_to
    from boundaries
)

select
    periods.*,
    {% for kind in priced_tokens() -%}
    max(card.usd_per_mtok) filter (where card.token_kind = '{{ kind }}') as {{ kind }}_usd_per_mtok{{ ',' if not loop.last }}
    {% endfor %}
from periods
inner join card
    on
        periods.provider = card.provider
        and periods.model = card.model
        and periods.context_window = card.context_window
        and periods.usage_type = card.usage_type
        and periods.inference_geo = card.inference_geo
        and periods.speed = card.speed
        and periods.valid_from >= card.valid_from
        and (card.valid_to is null or periods.valid_from < card.valid_to)
group by all
