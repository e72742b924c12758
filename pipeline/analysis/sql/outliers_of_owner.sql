-- Sessions of one user or key above its own fence, largest first.
with valued as (
    select
        session_id,
        cast(round(cost_usd * 1000000000) as double) as value
    from observations
    where key = $key and cost_usd is not null
)

select
    session_id,
    value / $unit as value
from valued
where value > $fence
order by value desc, session_id
limit $outlier_limit
