-- The same by cost centre, product and environment.
select
    month,
    team,
    cost_centre,
    product,
    environment,
    direct_usd,
    shared_usd,
    unallocated_usd,
    total_usd,
    estimated_usd,
    budget_usd
from marts.chargeback
where ${filters}
order by month desc, total_usd desc, team, cost_centre, product, environment
