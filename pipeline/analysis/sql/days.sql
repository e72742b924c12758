-- Cost of each UTC day with usage in the chosen segments of one dimension.
select
    key,
    cast(observed_at as date) as usage_date,
    cast(cost_usd as double) as cost_usd
from observations
where key in (select unnest($keys)) and cost_usd is not null
order by key, usage_date
