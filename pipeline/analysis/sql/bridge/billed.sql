-- Billed cost by month, key, model and token kind; list_usd is at list price where the export states one, else as billed.
select
    cast(date_trunc('month', usage_date) as date) as month,
    provider,
    workspace,
    api_key,
    model,
    token_kind,
    cast(sum(cost_usd) as decimal(38, 12)) as cost_usd,
    cast(sum(coalesce(list_price_usd, cost_usd)) as decimal(38, 12)) as list_usd,
    min(usage_date) as first_day,
    max(usage_date) as last_day
from marts.billed_costs
group by all
order by all
