-- The days with usage of the priced bills: bill, number of the day (from 0), cost.
select
    billing_months.bill_number,
    datediff('day', billing_months.first_day, billing_days.usage_date) as day_number,
    billing_days.cost_usd::double as cost_usd
from billing_days
inner join billing_months
    on billing_days.customer = billing_months.customer
    and date_trunc('month', billing_days.usage_date)::date = billing_months.month
where billing_months.bill_number is not null
    and billing_days.cost_usd is not null
order by billing_months.bill_number, day_number
