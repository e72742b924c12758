-- How many cells of the comparison ended with which outcome.
with cells as (select * from (${cells}) where ${filters})

select
    status,
    count(*) as cells,
    sum(billed_cost_usd) as billed_usd,
    sum(console_cost_usd) as console_usd,
    sum(logged_cost_usd) as logged_usd,
    sum(cost_gap_usd) as gap_usd
from cells
group by status
order by list_position([
    'matched', 'within_rounding', 'consistent', 'mispriced', 'unlogged', 'unbilled', 'late', 'unpriced', 'not_comparable',
    'out_of_scope'
], status)
