-- Sums over the minutes of the chosen segments: the moments of the number of observations per minute.
with minutes as (
    select
        segment,
        date_trunc('minute', observed_at) as minute,
        count(*) as n
    from chosen
    where observed_at is not null
    group by all
)

select
    segment,
    count(*) as busy_minutes,
    cast(date_diff('day', cast(min(minute) as date), cast(max(minute) as date)) + 1 as bigint) as days,
    cast(sum(n) as bigint) as total,
    cast(sum(n * n) as bigint) as squares,
    max(n) as most,
    arg_max(minute, {n: n, earliest: -epoch(minute)}) as busiest_minute
from minutes
group by segment
order by segment
