-- Sessions of temp.billing_sessions in a deterministic order.
select
    usage_date,
    cost_usd
from billing_sessions
order by usage_date, cost_usd
