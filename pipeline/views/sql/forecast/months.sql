-- Cost of each month, and of the forecast month what is still expected.
with months as (
    select
        cast(date_trunc('month', usage_date) as date) as month,
        cast(coalesce(sum(cost_usd), 0) as decimal(38, 12)) as cost_usd,
        count(distinct usage_date) as days
    from marts.charges
    where billing_mode = 'metered' and ${filters}
    group by all
),

forecasts as (
    select month, point - so_far as still_expected_usd, low_80, high_80, budget_95
    from analysis.cost_forecast
    where segment = $$segment and point is not null
)

select
    month,
    coalesce(months.cost_usd, 0) as cost_usd,
    months.cost_usd - lag(months.cost_usd) over (order by month) as change_usd,
    coalesce(months.days, 0) as days,
    forecasts.still_expected_usd,
    forecasts.low_80,
    forecasts.high_80,
    forecasts.budget_95
from months
full join forecasts using (month)
order by month
