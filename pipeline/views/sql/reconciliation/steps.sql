-- The gap of each status between the explained amount and the bill, and credits. Cells without a bill have no step.
select
    if(token_kind = 'credit' and status <> 'out_of_scope', 'credit', status) as status,
    count(*) as cells,
    sum(if(status = 'out_of_scope', 0, computed_usd)) as computed_usd,
    sum(billed_cost_usd) as billed_usd,
    sum(billed_cost_usd - if(status = 'out_of_scope', 0, computed_usd)) as gap_usd,
    sum(rounding_tolerance_usd) as tolerance_usd
from cells
where has_bill
group by all
