-- The most expensive segments of each dimension: observations with a value, and usage rows without a price.
with summed as (
    select
        dimension,
        key,
        case when $is_cost then count(cost_usd) else count(total_tokens) end as n,
        count(*) as observations,
        sum(cost_usd) as cost_usd,
        cast(sum(total_tokens) as bigint) as total_tokens,
        cast(sum(unpriced_rows) as bigint) as unpriced_rows,
        bool_or(from_console) as from_console,
        bool_or(from_sessions) as from_sessions
    from observations
    where key is not null and key <> ''
    group by dimension, key
)

select *
from summed
qualify
    row_number() over (partition by dimension order by cost_usd desc nulls last, total_tokens desc nulls last, key)
    <= $segment_limit
    or dimension = 'all'
