-- The bridge of a month as it is published.
select
    segment,
    term,
    usd,
    previous_usd,
    month_usd,
    source,
    note,
    days_sentence
from analysis.month_bridge
where month = date '${month}'
