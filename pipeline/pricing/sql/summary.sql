-- One row: totals of temp.billing_days, and how much of it names a customer and has a price.
select
    count(*) as customer_days,
    coalesce(sum(usage_rows), 0)::bigint as usage_rows,
    coalesce(sum(usage_rows) filter (where customer is null), 0)::bigint as unattributed_rows,
    coalesce(bool_or(has_console), false) as has_console,
    coalesce(bool_or(has_sessions), false) as has_sessions,
    min(usage_date) as first_usage_date,
    max(usage_date) as last_usage_date,
    coalesce(datediff('month', min(usage_date), max(usage_date)) + 1, 0) as n_months,
    coalesce(sum(total_tokens), 0)::bigint as total_tokens,
    coalesce(sum(unpriced_tokens), 0)::bigint as unpriced_tokens,
    sum(cost_usd)::decimal(38, 12) as cost_usd,
    (sum(cost_usd) filter (where customer is null))::decimal(38, 12) as unattributed_cost_usd
from billing_days
