-- The bill by period, key, team, model and kind of token; list_usd is as billed where the export states no list price.
with bills as (
    ${bills}
),

days as (
    ${days}
)

select
    days.period,
    bills.provider,
    bills.workspace,
    bills.api_key,
    bills.team,
    bills.model,
    bills.token_kind,
    bills.has_usage,
    bool_or(bills.states_list) as states_list,
    cast(sum(bills.tolerance_usd) as decimal(38, 12)) as tolerance_usd,
    cast(sum(bills.cost_usd) as decimal(38, 12)) as cost_usd,
    cast(sum(bills.list_usd) as decimal(38, 12)) as list_usd,
    min(bills.usage_date) as first_day,
    max(bills.usage_date) as last_day
from bills
inner join days using (usage_date)
group by all
order by all
