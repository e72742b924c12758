-- Invoices and the bill, by currency: amounts before credits and tax
-- minor: due, tax, credits
select
    period_start,
    period_end,
    currency,
    amount,
    credits,
    tax,
    due,
    billed_cost_usd,
    gap_usd,
    status
from marts.invoices
order by period_start desc, period_end desc, currency
