-- The cheapest contract for the target, by customer dimension and margin of the provider.
select
    customer_dimension,
    target,
    target_value,
    loading_principle,
    mechanism,
    params,
    variance_reduction,
    loading,
    expected_cost_usd,
    p_over_budget,
    status,
    reason
from analysis.pricing_recommendation
where rank = 1 or rank is null
order by customer_dimension <> 'organisation', customer_dimension, target desc, loading_principle
