-- The forecast month day by day, summed up: cost so far, the forecast, and its 80% interval. What is left of the month is
-- spread over its days by the mean of the last four same weekdays.
with forecast as (
    select month, as_of, so_far, point, low_80, high_80
    from analysis.cost_forecast
    where segment = $$segment and point is not null
    order by month
    limit 1
),

days as (
    select charges.usage_date, sum(charges.cost_usd) as cost_usd
    from marts.charges
    cross join forecast
    where
        charges.billing_mode = 'metered'
        and charges.usage_date > least(forecast.month - interval 1 day, forecast.as_of - interval 28 day)
        and ${filters}
    group by charges.usage_date
),

calendar as (
    select unnest(generate_series(month, month + interval 1 month - interval 1 day, interval 1 day))::date as usage_date
    from forecast
),

weights as (
    select isodow(days.usage_date) as weekday, sum(days.cost_usd)::double as weight
    from days
    cross join forecast
    where days.usage_date > forecast.as_of - interval 28 day and days.usage_date <= forecast.as_of
    group by all
),

ahead as (
    select
        calendar.usage_date,
        sum(coalesce(weights.weight, 0)) over (order by calendar.usage_date)
        / nullif(sum(coalesce(weights.weight, 0)) over (), 0) as share
    from calendar
    cross join forecast
    left join weights on isodow(calendar.usage_date) = weights.weekday
    where calendar.usage_date > forecast.as_of
),

behind as (
    select calendar.usage_date, sum(coalesce(days.cost_usd, 0)) over (order by calendar.usage_date) as so_far_usd
    from calendar
    cross join forecast
    left join days on calendar.usage_date = days.usage_date
    where calendar.usage_date <= forecast.as_of
)

select
    calendar.usage_date,
    behind.so_far_usd::double as so_far_usd,
    coalesce(behind.so_far_usd::double, forecast.so_far + (forecast.point - forecast.so_far) * ahead.share) as expected_usd,
    coalesce(behind.so_far_usd::double, forecast.so_far + (forecast.low_80 - forecast.so_far) * ahead.share) as low_usd,
    coalesce(behind.so_far_usd::double, forecast.so_far + (forecast.high_80 - forecast.so_far) * ahead.share) as high_usd
from calendar
cross join forecast
left join ahead on calendar.usage_date = ahead.usage_date
left join behind on calendar.usage_date = behind.usage_date
order by calendar.usage_date
