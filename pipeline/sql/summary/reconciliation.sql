select
    count(*) filter (where status <> 'not_comparable') as cells,
    count(*) filter (where status in ('matched', 'within_rounding')) as cells_tied_out,
    sum(billed_cost_usd) filter (where status <> 'not_comparable') as billed_cost_usd,
    sum(console_cost_usd) filter (where status <> 'not_comparable') as console_cost_usd,
    sum(rounding_tolerance_usd) filter (where status <> 'not_comparable') as rounding_tolerance_usd,
    count(*) filter (where status = 'not_comparable') as cells_not_comparable
from marts.usage_reconciliation
