-- Sessions of temp.billing_sessions, in an order that does not depend on how they lie in the table.
select
    usage_date,
    cost_usd
from billing_sessions
order by usage_date, cost_usd
