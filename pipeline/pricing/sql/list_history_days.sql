-- One row per UTC day from the first to the last of temp.billing_days, over all customers; 0 for days without usage.
-- A day whose usage has no price has an unknown cost and is left out.
with span as (
    select min(usage_date) as first_usage_date, max(usage_date) as last_usage_date
    from billing_days
),

calendar as (
    select unnest(generate_series(first_usage_date, last_usage_date, interval 1 day))::date as usage_date
    from span
    where first_usage_date is not null
),

daily as (
    select usage_date, sum(cost_usd) as cost_usd
    from billing_days
    group by usage_date
)

select
    calendar.usage_date,
    coalesce(daily.cost_usd, 0)::double as cost_usd
from calendar
left join daily on calendar.usage_date = daily.usage_date
where daily.usage_date is null or daily.cost_usd is not null
order by calendar.usage_date
