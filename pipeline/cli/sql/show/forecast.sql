-- What this month and the next will cost, and how often past forecasts were right
-- minor: note, method, backtest_hits, backtest_months, low_80, high_80, low_95, high_95, budget_80, so_far_usd
select
    segment,
    strftime(month, '%Y-%m') as month,
    as_of,
    method,
    round(so_far, 2)::decimal(18, 2) as so_far_usd,
    round(point, 2)::decimal(18, 2) as forecast_usd,
    round(low_80, 2)::decimal(18, 2) as low_80,
    round(high_80, 2)::decimal(18, 2) as high_80,
    round(low_95, 2)::decimal(18, 2) as low_95,
    round(high_95, 2)::decimal(18, 2) as high_95,
    round(budget_80, 2)::decimal(18, 2) as budget_80,
    round(budget_95, 2)::decimal(18, 2) as budget_95,
    round(budget_99, 2)::decimal(18, 2) as budget_99,
    backtest_over_budget as over_budget_95,
    backtest_budgets as months_with_budget,
    backtest_hits,
    backtest_months,
    note
from analysis.cost_forecast
order by segment <> 'all', month, point desc nulls last, segment, method
