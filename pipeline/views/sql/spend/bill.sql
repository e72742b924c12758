-- The bill in the period: on days with usage of its provider, and on days without.
with days as (
    select distinct provider, usage_date from marts.charges where is_in_force
)

select
    cast(coalesce(sum(billed.cost_usd) filter (where days.usage_date is not null), 0) as decimal(38, 12)) as with_usage_usd,
    cast(coalesce(sum(billed.cost_usd) filter (where days.usage_date is null), 0) as decimal(38, 12)) as without_usage_usd,
    min(billed.usage_date) filter (where days.usage_date is null) as first_without,
    max(billed.usage_date) filter (where days.usage_date is null) as last_without,
    cast(count(*) as bigint) as amounts
from (select * from marts.billed_costs where ${filters}) as billed
left join days on billed.provider = days.provider and billed.usage_date = days.usage_date
