-- The bill by team: direct costs, their part of shared costs, and costs that no line of allocation.csv matches
-- minor: shared_rule, is_closed, environment, direct_usd, shared_usd, unallocated_usd, is_over_budget, estimated_usd
select
    strftime(month, '%Y-%m') as month,
    team,
    cost_centre,
    product,
    environment,
    direct_usd,
    shared_usd,
    unallocated_usd,
    total_usd,
    estimated_usd,
    budget_usd,
    (total_usd + estimated_usd > budget_usd) as is_over_budget,
    shared_rule,
    is_closed
from marts.chargeback
order by month desc, team = '', total_usd desc, team, cost_centre, product, environment
