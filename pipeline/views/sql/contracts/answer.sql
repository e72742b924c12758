-- The best quote, the organisation's cheapest contract for the target, and the budget of the month that they are priced on.
select
    (select next_month from analysis.cost_forecast where segment = 'all') as budget_month,
    (select next_budget_95 from analysis.cost_forecast where segment = 'all') as budget_usd,
    (select count(*) from analysis.pricing_quotes where quote is not null) as quotes,
    (select arg_max(answer, saving_usd) from analysis.pricing_quotes where quote is not null) as best_answer,
    (select max(saving_usd) from analysis.pricing_quotes where quote is not null) as best_saving_usd,
    (
        select reason from analysis.pricing_recommendation
        where customer_dimension = 'organisation' and loading_principle = 'expected_value' and (rank = 1 or rank is null)
        order by target = 'budget' and status = 'ok' desc
        limit 1
    ) as recommended,
    (
        select loading from analysis.pricing_recommendation
        where customer_dimension = 'organisation' and loading_principle = 'expected_value' and rank = 1
        order by target = 'budget' desc
        limit 1
    ) as loading_usd
