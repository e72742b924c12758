-- The cheapest terms of each contract that remove at least so much of the swings of the organisation's months: of the
-- frontier, and of the contracts that were searched for the target of the settings.
with candidates as (
    select mechanism, params, variance_reduction, loading, tvar_99, pure_premium
    from analysis.pricing_frontier
    where customer_dimension = 'organisation' and loading_principle = $$principle
    union all
    select mechanism, params, variance_reduction, loading, null as tvar_99, pure_premium
    from analysis.pricing_recommendation
    where customer_dimension = 'organisation' and loading_principle = $$principle and mechanism is not null
),

enough as (
    select
        *,
        row_number() over (partition by mechanism order by loading, variance_reduction desc, tvar_99 is null) as place
    from candidates
    where variance_reduction >= $$calm - 1e-9
)

select mechanism, params, variance_reduction, loading, tvar_99, pure_premium
from enough
where place = 1
order by loading, mechanism
