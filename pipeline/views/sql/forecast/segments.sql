-- Each segment's forecast and its record, the whole first.
select
    segment,
    month,
    so_far,
    point,
    low_80,
    high_80,
    budget_95,
    if(backtest_months > 0, backtest_hits || ' of ' || backtest_months, null) as held,
    if(backtest_budgets > 0, backtest_over_budget || ' of ' || backtest_budgets, null) as over_budget,
    note
from analysis.cost_forecast
where point is not null
order by segment <> 'all', point desc, segment
