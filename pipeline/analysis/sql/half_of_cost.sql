-- The most expensive sessions that together cause half of the cost; their number, and that of all sessions.
with valued as (
    select
        session_id,
        cost_usd
    from observations
    where cost_usd is not null
),

ranked as (
    select
        session_id,
        cost_usd,
        row_number() over by_cost as place,
        sum(cost_usd) over by_cost as upto_usd,
        sum(cost_usd) over () as total_usd,
        count(*) over () as sessions
    from valued
    window by_cost as (order by cost_usd desc, session_id rows between unbounded preceding and current row)
),

chosen as (
    select
        *,
        count(*) over () as needed
    from ranked
    where total_usd > 0 and 2 * (upto_usd - cost_usd) < total_usd
)

select
    place,
    session_id,
    cost_usd,
    cast(upto_usd as double) / cast(total_usd as double) as upto_share,
    needed,
    sessions
from chosen
where place <= $session_limit
order by place
