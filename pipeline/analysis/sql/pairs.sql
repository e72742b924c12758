-- (value, count) pairs of the chosen segments, sufficient for every fit and quantile. Values are
-- tokens, or whole nano-dollars; the reader merges values that round to the same nano-dollar.
with grouped as (
    select
        segment,
        case when $is_cost then cost_usd end as cost_usd,
        case when not $is_cost then total_tokens end as total_tokens,
        count(*) as rows
    from chosen
    group by all
)

select
    segment,
    case when $is_cost then cast(round(cost_usd * 1000000000) as double) else cast(total_tokens as double) end as value,
    rows
from grouped
where value is not null
order by segment, value
