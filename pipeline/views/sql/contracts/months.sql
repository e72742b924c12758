-- The organisation's month under each contract at the same mean price: what it costs in usual and in bad months.
select
    basis,
    mechanism,
    params,
    mean,
    median,
    p90,
    var_95,
    var_99,
    tvar_99,
    variance_reduction_pooled,
    saving_usd,
    p_dearer,
    p_over_budget,
    loading,
    loading_principle,
    method,
    status,
    reason
from analysis.pricing_risk
where
    segment = 'all'
    and customer_dimension = 'organisation'
    and (loading_principle = $$principle or loading_principle is null)
order by basis <> 'as_quoted', variance_reduction_pooled nulls last, mechanism
