-- The budget that is enough with each chance, for the forecast month and the next one, and how often past months exceeded it.
with forecast as (
    select *
    from analysis.cost_forecast
    where segment = $$segment and point is not null
    order by month
    limit 1
)

select
    0.80 as chance,
    month,
    budget_80 as budget_usd,
    next_month,
    next_budget_80 as next_budget_usd,
    if(backtest_budgets > 0, backtest_over_80 || ' of ' || backtest_budgets, null) as over_budget
from forecast
where budget_80 is not null or next_budget_80 is not null
union all
select
    0.95,
    month,
    budget_95,
    next_month,
    next_budget_95,
    if(backtest_budgets > 0, backtest_over_budget || ' of ' || backtest_budgets, null)
from forecast
where budget_95 is not null or next_budget_95 is not null
union all
select
    0.99,
    month,
    budget_99,
    next_month,
    next_budget_99,
    if(backtest_budgets > 0, backtest_over_99 || ' of ' || backtest_budgets, null)
from forecast
where budget_99 is not null or next_budget_99 is not null
order by chance
