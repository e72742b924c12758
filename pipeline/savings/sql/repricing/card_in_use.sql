-- The rates of the other card that reprice.sql can join: those of the used tiers and of the tiers they are mapped to.
with used as (
    select distinct
        coalesce(model_map.new_provider, charges.provider) as provider,
        coalesce(model_map.new_model, charges.model) as model,
        if(model_map.new_model is null, charges.context_window, model_map.new_window) as context_window,
        coalesce(usage_type_map.new_usage_type, charges.usage_type) as usage_type,
        charges.inference_geo,
        charges.speed
    from marts.charges as charges
    left join model_map
        on charges.model = model_map.model and charges.context_window = model_map.context_window
    left join usage_type_map on charges.usage_type = usage_type_map.usage_type
    where charges.billing_mode = 'metered'
)

select
    new_card.provider,
    new_card.model,
    new_card.token_kind,
    new_card.context_window,
    new_card.usage_type,
    new_card.inference_geo,
    new_card.speed,
    new_card.valid_from,
    new_card.valid_to,
    new_card.usd_per_mtok,
    new_card.is_override
from new_card
inner join used using (provider, model, context_window, usage_type, inference_geo, speed)
order by all
