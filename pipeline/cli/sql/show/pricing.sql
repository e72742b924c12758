-- Contracts at equal revenue, and quotes as quoted: the effect on the bill, and the premium for the ceded risk
-- minor: reason, n_bills, variance_reduction_pooled, sd, status, ceded_share, basis, mean
select
    basis,
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
order by
    segment <> 'all',
    basis,
    customer_dimension <> 'organisation',
    customer_dimension,
    segment,
    mechanism,
    loading_principle
