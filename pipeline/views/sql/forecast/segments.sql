-- Each segment's forecast and its record, the whole first.
select
    segment,
    month,
    so_far,
    point,
    low_80,
    high_80,
    budget_95,
    backtest_hits,
    backtest_months,
    backtest_over_budget,
    backtest_budgets,
    note
from analysis.cost_forecast
where point is not null
order by segment <> 'all', point desc, segment
