-- The comparison in one row: what was checked, what tied out, and the amounts.
with cells as (select * from (${cells}) where ${filters})

select
    count(*) as cells,
    count(*) filter (where is_compared) as cells_compared,
    count(*) filter (where is_tied_out) as cells_tied_out,
    -- the provider's usage at the rate card against its own bill, independent of the logs
    count(*) filter (where is_compared and is_priced_right is not null) as cells_priced,
    count(*) filter (where is_compared and is_priced_right) as cells_priced_right,
    coalesce(bool_or(has_logs and status <> 'out_of_scope'), false) as has_logs,
    coalesce(bool_or(has_bill), false) as has_bill,
    min(usage_date) as first_day,
    max(usage_date) as last_day,
    -- the bill of comparable cells
    coalesce(sum(billed_cost_usd) filter (where is_compared), 0) as billed_usd,
    coalesce(sum(explained_usd) filter (where is_compared), 0) as explained_usd,
    coalesce(sum(rounding_tolerance_usd) filter (where is_compared), 0) as tolerance_usd,
    coalesce(sum(logged_cost_usd) filter (where not has_bill and status <> 'out_of_scope'), 0) as logged_unbilled_days_usd
from cells
