-- Contracts at equal revenue: what each does to the bill, and the premium that covers what it cedes
select
    customer_dimension,
    segment,
    mechanism,
    n_bills,
    mean,
    sd,
    variance_reduction,
    variance_reduction_pooled,
    tvar_99,
    ceded_share,
    loading_principle,
    premium,
    status,
    reason
from analysis.pricing_risk
order by customer_dimension <> 'organisation', customer_dimension, segment, mechanism, loading_principle
