-- Your quotes: what the last twelve complete months would have cost under each
select
    quote,
    n_months,
    list_usd,
    quote_usd,
    saving_usd,
    dearer_months,
    p_dearer,
    break_even_usd,
    status,
    answer
from analysis.pricing_quotes
order by quote
