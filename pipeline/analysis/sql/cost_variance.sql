-- Windows of a day and of seven days (24 and 168 hours) that end at midnight and lie within the segment's history, from
-- the start of its first day to the end of its last day.
-- Deviations from an integer mean are summed as integers: variances are exact and the same in every run.
with valued as (
    select
        segment,
        observed_at,
        cast(round(cost_usd * 1000000000) as hugeint) as value
    from chosen
    where cost_usd is not null and observed_at is not null
),

history as (
    select
        segment,
        cast(sum(value) // count(*) as hugeint) as whole_mean,
        date_trunc('day', min(observed_at)) as first_day,
        date_trunc('day', max(observed_at)) + interval 1 day as end_day
    from valued
    group by segment
),

reference as (
    select
        segment,
        case when count(*) >= $min_reference_rows then quantile_cont(cast(value as double), 0.95) end as p95
    from valued
    inner join history using (segment)
    where observed_at < first_day + to_days(cast($reference_days as integer))
    group by segment
),

daily as (
    select
        segment,
        date_trunc('day', observed_at) as day,
        count(*) as n,
        sum(value - whole_mean) as first,
        sum((value - whole_mean) * (value - whole_mean)) as second,
        count(*) filter (where cast(value as double) > p95) as above
    from valued
    inner join history using (segment)
    inner join reference using (segment)
    group by all
),

grid as (
    select
        segment,
        unnest(generate_series(first_day, end_day - interval 1 day, interval 1 day)) as day
    from history
),

dense as (
    select
        grid.segment,
        grid.day,
        coalesce(daily.n, 0) as n,
        coalesce(daily.first, 0) as first,
        coalesce(daily.second, 0) as second,
        coalesce(daily.above, 0) as above
    from grid
    left join daily using (segment, day)
),

windows as (
    select
        24 as window_hours,
        segment,
        day + interval 1 day as window_end,
        n,
        first,
        second,
        above
    from dense
    union all
    select
        168 as window_hours,
        segment,
        day + interval 1 day as window_end,
        sum(n) over week_long as n,
        sum(first) over week_long as first,
        sum(second) over week_long as second,
        sum(above) over week_long as above
    from dense
    window week_long as (partition by segment order by day rows between 6 preceding and current row)
),

moments as (
    select
        windows.window_hours,
        windows.window_end,
        windows.segment,
        cast(windows.n as bigint) as n,
        (cast(history.whole_mean as double) + cast(windows.first as double) / windows.n) / 1e9 as mean,
        case
            when windows.n > 1 then
                sqrt(
                    greatest(
                        cast(windows.second as double)
                        - cast(windows.first as double) * cast(windows.first as double) / windows.n,
                        0
                    )
                    / (windows.n - 1)
                ) / 1e9
        end as sd,
        case when reference.p95 is not null then windows.above / cast(windows.n as double) end as share_above_reference,
        reference.p95 / 1e9 as reference_p95
    from windows
    inner join history using (segment)
    inner join reference using (segment)
    where windows.n > 0 and windows.window_end >= history.first_day + to_hours(windows.window_hours)
)

select
    *,
    case when mean > 0 then sd / mean end as cv
from moments
order by segment, window_hours, window_end
