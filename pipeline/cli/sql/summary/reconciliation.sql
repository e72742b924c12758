-- The bill against the provider's own usage, and against the logs; without keys that are out of scope.
with cells as (
    select
        *,
        status not in ('not_comparable', 'out_of_scope') as is_compared,
        is_compared and billed_cost_usd is not null and console_tokens is not null as is_priced,
        is_compared and logged_tokens is not null as is_logged
    from marts.usage_reconciliation
)

select
    count(*) filter (where is_priced) as cells,
    count(*) filter (where is_priced and abs(billed_cost_usd - console_cost_usd) <= rounding_tolerance_usd)
        as cells_tied_out,
    sum(billed_cost_usd) filter (where is_priced) as billed_cost_usd,
    sum(console_cost_usd) filter (where is_priced) as console_cost_usd,
    sum(rounding_tolerance_usd) filter (where is_priced) as rounding_tolerance_usd,
    count(*) filter (where is_logged) as logged_cells,
    count(*) filter (where is_logged and status in ('matched', 'within_rounding', 'consistent'))
        as logged_cells_tied_out,
    sum(logged_cost_usd) filter (where is_logged) as logged_cost_usd,
    sum(coalesce(billed_cost_usd, console_cost_usd)) filter (where is_logged) as logged_against_usd,
    count(*) filter (where status = 'not_comparable') as cells_not_comparable,
    count(*) filter (where status = 'out_of_scope') as cells_out_of_scope
from cells
