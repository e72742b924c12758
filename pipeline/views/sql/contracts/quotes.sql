-- The quotes on the last complete months.
select
    quote,
    first_month,
    last_month,
    n_months,
    list_usd,
    quote_usd,
    saving_usd,
    saving_share,
    p_dearer,
    p_over_budget,
    break_even_usd,
    answer
from analysis.pricing_quotes
where quote is not null
order by saving_usd desc, quote
