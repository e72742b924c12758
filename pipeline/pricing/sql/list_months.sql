-- temp.billing_months in the order of the published tables.
select
    customer,
    month,
    source,
    is_partial_month,
    unpriced_tokens,
    bill_usd,
    bill_usd::double as bill_as_double,
    history_days,
    status,
    customer_number,
    datediff('month', date '1970-01-01', month) as month_number
from billing_months
order by customer nulls last, month nulls last
