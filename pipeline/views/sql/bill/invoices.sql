-- Invoices and the bill, by period and currency: amounts before credits and tax.
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
    covered_days,
    period_days,
    status
from marts.invoices
where ${filters}
order by period_start desc, period_end desc, currency
