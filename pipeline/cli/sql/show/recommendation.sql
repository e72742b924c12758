-- The cheapest contract for each target, by loading principle
select
    customer_dimension,
    target,
    loading_principle,
    status,
    reason
from analysis.pricing_recommendation
where rank = 1 or rank is null
order by customer_dimension <> 'organisation', customer_dimension, target desc, loading_principle
