-- What was billed, a month, key, model and kind; at list where the export states a list price, else as billed.
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
