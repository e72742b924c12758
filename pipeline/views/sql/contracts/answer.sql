-- The best quote, and what the organisation's cheapest contract for the target is.
select
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
