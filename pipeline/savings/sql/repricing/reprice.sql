-- The history with another card: old cost, new cost and difference by month, model and key. Amounts include only usage
-- with a rate on both sides; unpriced_tokens counts the other tokens (or searches).
with in_force as (
    select * from marts.charges
    where billing_mode = 'metered' and is_in_force
),

mapped as (
    select
        in_force.* replace (
            coalesce(model_map.new_model, in_force.model) as model,
            coalesce(kind_map.new_kind, in_force.token_kind) as token_kind,
            if(model_map.new_model is null, in_force.context_window, model_map.new_window) as context_window,
            coalesce(usage_type_map.new_usage_type, in_force.usage_type) as usage_type,
            coalesce(model_map.new_provider, in_force.provider) as provider
        ),
        in_force.model as old_model,
        in_force.provider as old_provider
    from in_force
    left join model_map
        on in_force.model = model_map.model and in_force.context_window = model_map.context_window
    left join kind_map on in_force.token_kind = kind_map.token_kind
    left join usage_type_map on in_force.usage_type = usage_type_map.usage_type
),

repriced as (
    select
        mapped.*,
        (mapped.tokens * new_card.usd_per_mtok * 0.000001)::decimal(38, 12) as new_cost_usd
    from mapped
    left join new_card
        on ${at_rate}
)

select
    strftime(usage_date, '%Y-%m') as month,
    old_provider as provider,
    old_model as model,
    model as new_model,
    api_key,
    workspace,
    sum(tokens) filter (where token_kind <> 'web_search')::bigint as tokens,
    coalesce(sum(tokens) filter (where cost_usd is null or new_cost_usd is null), 0)::bigint as unpriced_tokens,
    coalesce(sum(cost_usd) filter (where new_cost_usd is not null), 0)::decimal(38, 12) as old_usd,
    coalesce(sum(new_cost_usd) filter (where cost_usd is not null), 0)::decimal(38, 12) as new_usd,
    (new_usd - old_usd)::decimal(38, 12) as difference_usd
from repriced
group by all
order by month, model, api_key, workspace
