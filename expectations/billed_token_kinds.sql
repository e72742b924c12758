-- One row per token kind.
select token_kind, count(*) as rows_checked, sum(cost_usd)::decimal(38, 12) as cost_usd
from marts.billed_costs
group by all
order by all
