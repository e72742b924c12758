-- Who pays for the bill of each month, the latest first.
with months as (
    select
        month,
        team,
        sum(direct_usd) as direct_usd,
        sum(shared_usd) as shared_usd,
        sum(unallocated_usd) as unallocated_usd,
        sum(total_usd) as billed_usd,
        sum(estimated_usd) as estimated_usd,
        sum(total_usd + estimated_usd) as cost_usd,
        sum(budget_usd) as budget_usd,
        bool_and(is_closed) as is_closed
    from marts.chargeback
    where ${filters}
    group by month, team
)

select
    month,
    team,
    cast(cost_usd as decimal(38, 12)) as cost_usd,
    cast(budget_usd as decimal(38, 12)) as budget_usd,
    if(budget_usd is null, null, cast(greatest(cost_usd - budget_usd, 0) as decimal(38, 12))) as over_usd,
    cast(direct_usd as decimal(38, 12)) as direct_usd,
    cast(shared_usd as decimal(38, 12)) as shared_usd,
    cast(unallocated_usd as decimal(38, 12)) as unallocated_usd,
    cast(billed_usd as decimal(38, 12)) as billed_usd,
    cast(estimated_usd as decimal(38, 12)) as estimated_usd,
    is_closed
from months
order by month desc, cost_usd desc, team
