-- Key figures of the statistics page, in one row; null where unknown.
with forecast as (
    select
        strftime(month, '%Y-%m') as month,
        round(point, 2) as point,
        round(budget_95, 2) as budget_95
    from analysis.cost_forecast
    where segment = 'all' and point is not null
)

select
    (select verdict from analysis.tail_metrics where segment = 'all' and measure = 'session_cost_usd') as session_cost_tail,
    (select count(distinct usage_date) from analysis.usage_anomalies where segment = 'all' and kind = 'shock') as unusual_days,
    (select month from forecast) as forecast_month,
    (select point from forecast) as forecast_usd,
    (select budget_95 from forecast) as budget_95_usd
