-- The sessions of the priced bills: bill, cost.
select
    billing_months.bill_number,
    billing_sessions.cost_usd
from billing_sessions
inner join billing_months
    on billing_sessions.customer = billing_months.customer
    and date_trunc('month', billing_sessions.usage_date)::date = billing_months.month
where billing_months.bill_number is not null
order by billing_months.bill_number, billing_sessions.cost_usd
