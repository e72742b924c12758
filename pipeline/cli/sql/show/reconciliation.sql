-- Provider's usage, our logs and the provider's bill, by month and outcome
-- minor: rounding_tolerance_usd, scope, console_cost_usd, logged_tokens, console_tokens
select
    strftime(usage_date, '%Y-%m') as month,
    compared,
    status,
    scope,
    count(*) as cells,
    sum(console_tokens)::bigint as console_tokens,
    sum(logged_tokens)::bigint as logged_tokens,
    sum(billed_cost_usd) as billed_cost_usd,
    sum(console_cost_usd) as console_cost_usd,
    sum(logged_cost_usd) as logged_cost_usd,
    sum(cost_gap_usd) as cost_gap_usd,
    sum(rounding_tolerance_usd) as rounding_tolerance_usd
from marts.usage_reconciliation
group by all
order by month desc, compared, status, scope
