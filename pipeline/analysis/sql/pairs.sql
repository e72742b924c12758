-- (value, count) pairs of the chosen segments of one dimension, a sufficient statistic for every fit and quantile: tokens,
-- or money in whole nano-dollars. Values that meet in one nano-dollar are merged by the reader.
with grouped as (
    select
        key,
        case when $is_cost then cost_usd end as cost_usd,
        case when not $is_cost then total_tokens end as total_tokens,
        count(*) as rows
    from observations
    where key in (select unnest($keys))
    group by all
)

select
    key,
    case when $is_cost then cast(round(cost_usd * 1000000000) as double) else cast(total_tokens as double) end as value,
    rows
from grouped
where value is not null
order by key, value
