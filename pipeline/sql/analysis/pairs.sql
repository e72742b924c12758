-- (value, count) pairs of the chosen segments of one dimension, a sufficient statistic for every fit and quantile.
with valued as (
    select
        key,
        case when $is_cost then cost_nano_usd else total_tokens end as value
    from observations
    where key in (select unnest($keys))
)

select
    key,
    cast(value as double) as value,
    count(*) as rows
from valued
where value is not null
group by key, valued.value
order by key, valued.value
