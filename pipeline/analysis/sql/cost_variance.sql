-- Rolling windows of 24 and 168 hours over hourly sums. A window ends every $step_hours hours and lies within the
-- segment's history, from the start of its first day to the end of its last day.
-- Deviations from an integer mean are summed as integers: variances are exact and the same in every run.
with valued as (
    select
        key,
        observed_at,
        cast(round(cost_usd * 1000000000) as hugeint) as value
    from observations
    where key in (select unnest($keys)) and cost_usd is not null and observed_at is not null
),

history as (
    select
        key,
        cast(sum(value) // count(*) as hugeint) as whole_mean,
        date_trunc('day', min(observed_at)) as first_day,
        date_trunc('day', max(observed_at)) + interval 1 day as end_day
    from valued
    group by key
),

reference as (
    select
        key,
        case when count(*) >= $min_reference_rows then quantile_cont(cast(value as double), 0.95) end as p95
    from valued
    inner join history using (key)
    where observed_at < first_day + to_days(cast($reference_days as integer))
    group by key
),

hourly as (
    select
        key,
        date_trunc('hour', observed_at) as hour,
        count(*) as n,
        sum(value - whole_mean) as first,
        sum((value - whole_mean) * (value - whole_mean)) as second,
        count(*) filter (where cast(value as double) > p95) as above
    from valued
    inner join history using (key)
    inner join reference using (key)
    group by all
),

grid as (
    select
        key,
        unnest(generate_series(first_day, end_day - interval 1 hour, interval 1 hour)) as hour
    from history
),

dense as (
    select
        grid.key,
        grid.hour,
        coalesce(hourly.n, 0) as n,
        coalesce(hourly.first, 0) as first,
        coalesce(hourly.second, 0) as second,
        coalesce(hourly.above, 0) as above
    from grid
    left join hourly using (key, hour)
),

windows as (
    select
        24 as window_hours,
        key,
        hour + interval 1 hour as window_end,
        sum(n) over day_long as n,
        sum(first) over day_long as first,
        sum(second) over day_long as second,
        sum(above) over day_long as above
    from dense
    window day_long as (partition by key order by hour rows between 23 preceding and current row)
    union all
    select
        168 as window_hours,
        key,
        hour + interval 1 hour as window_end,
        sum(n) over week_long as n,
        sum(first) over week_long as first,
        sum(second) over week_long as second,
        sum(above) over week_long as above
    from dense
    window week_long as (partition by key order by hour rows between 167 preceding and current row)
),

moments as (
    select
        windows.window_hours,
        windows.window_end,
        windows.key,
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
    inner join history using (key)
    inner join reference using (key)
    where windows.n > 0
        and windows.window_end >= history.first_day + to_hours(windows.window_hours)
        and (
            hour(windows.window_end) = 0
            or (windows.window_hours = 24 and hour(windows.window_end) % $step_hours = 0)
        )
)

select
    *,
    case when mean > 0 then sd / mean end as cv
from moments
order by key, window_hours, window_end
