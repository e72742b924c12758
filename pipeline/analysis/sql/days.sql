-- Cost of each UTC day with usage in the chosen segments.
select
    segment,
    cast(observed_at as date) as usage_date,
    cast(cost_usd as double) as cost_usd
from chosen
where cost_usd is not null
order by segment, usage_date
