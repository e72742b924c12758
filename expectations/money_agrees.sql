-- One row per source, provider and fully priced model: its cost in each mart that adds it up in another way. And one row per
-- model of the bill: the amount in the exports and the amount in the reconciliation.
with

priced as (
    select source, provider, model, usage_rows, total_cost_usd
    from marts.model_usage_stats
    where total_cost_usd is not null
),

minutes as (
    select source, provider, model, sum(estimated_cost_usd) as cost_usd
    from marts.token_usage_minutes
    group by all
),

days as (
    select source, provider, model, sum(cost_usd) as cost_usd, sum(api_equivalent_cost_usd) as api_equivalent_cost_usd
    from marts.daily_usage
    group by all
),

keys as (
    select source, provider, model, sum(cost_usd) as cost_usd
    from marts.cache_efficiency_stats
    group by all
),

reconciled as (
    select
        'console' as source,
        provider,
        model,
        sum(console_cost_usd) as cost_usd
    from marts.usage_reconciliation
    group by all

    union all

    select
        'sessions',
        provider,
        model,
        sum(logged_cost_usd)
    from marts.usage_reconciliation
    group by all
),

billed as (
    select
        provider,
        model,
        count(*) as cost_rows,
        sum(cost_usd) as total_usd
    from marts.billed_costs
    group by all
),

billed_cells as (
    select provider, model, sum(billed_cost_usd) as cost_usd
    from marts.usage_reconciliation
    group by all
)

select
    priced.source,
    priced.provider,
    priced.model,
    priced.usage_rows::bigint as rows_checked,
    priced.total_cost_usd as cost_by_model,
    coalesce(minutes.cost_usd, 0) as cost_by_minute,
    coalesce(days.cost_usd, 0) as cost_by_day,
    coalesce(keys.cost_usd, 0) as cost_by_key,
    coalesce(reconciled.cost_usd, 0) + coalesce(days.api_equivalent_cost_usd, 0) as cost_reconciled
from priced
left join minutes using (source, provider, model)
left join days using (source, provider, model)
left join keys using (source, provider, model)
left join reconciled using (source, provider, model)

union all

select
    'billed',
    billed.provider,
    billed.model,
    billed.cost_rows::bigint,
    billed.total_usd as cost_by_model,
    billed.total_usd as cost_by_minute,
    coalesce(billed_cells.cost_usd, 0) as cost_by_day,
    coalesce(billed_cells.cost_usd, 0) as cost_by_key,
    coalesce(billed_cells.cost_usd, 0) as cost_reconciled
from billed
left join billed_cells using (provider, model)
order by all
