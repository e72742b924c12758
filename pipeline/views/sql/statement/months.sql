-- What a team (null: the whole organisation) has paid in each month, the latest first.
select
    month,
    cast(sum(direct_usd) as decimal(38, 12)) as direct_usd,
    cast(sum(shared_usd) as decimal(38, 12)) as shared_usd,
    cast(sum(unallocated_usd) as decimal(38, 12)) as unallocated_usd,
    cast(sum(estimated_usd) as decimal(38, 12)) as estimated_usd,
    cast(sum(total_usd + estimated_usd) as decimal(38, 12)) as cost_usd,
    cast(sum(budget_usd) as decimal(38, 12)) as budget_usd,
    any_value(shared_rule) as shared_rule,
    bool_and(is_closed) as is_closed
from marts.chargeback
where $$team is null or team = $$team
group by month
order by month desc
