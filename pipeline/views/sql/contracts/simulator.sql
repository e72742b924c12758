-- The cheapest terms of each contract that remove at least so much of the swings of the organisation's months.
with enough as (
    select *, row_number() over (partition by mechanism order by loading, variance_reduction desc) as place
    from analysis.pricing_frontier
    where
        customer_dimension = 'organisation'
        and loading_principle = $$principle
        and variance_reduction >= $$calm - 1e-9
)

select mechanism, params, variance_reduction, loading, tvar_99, pure_premium
from enough
where place = 1
order by loading, mechanism
