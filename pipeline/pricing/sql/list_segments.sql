-- The most expensive models, keys and workspaces on the organisation's bills, of dimensions with several values.
with in_force as (
    select model, api_key, workspace, estimated_cost_usd
    from marts.token_usage_minutes
    where is_in_force and billing_mode = 'metered'
),

valued as (
    select 'model' as dimension, model as name, estimated_cost_usd from in_force
    union all
    select 'api_key' as dimension, api_key as name, estimated_cost_usd from in_force
    union all
    select 'workspace' as dimension, workspace as name, estimated_cost_usd from in_force
),

ranked as (
    select
        dimension,
        name,
        sum(estimated_cost_usd) as cost_usd,
        count(*) over (partition by dimension) as n_values
    from valued
    where trim(coalesce(name, '')) <> ''
    group by dimension, name
)

select dimension, name
from ranked
where n_values > 1 and cost_usd > 0
order by cost_usd desc, dimension, name
limit ${most}
