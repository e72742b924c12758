-- What each contract removes of the swings, and what it costs more a month: the cheapest terms for each percent removed.
select
    mechanism,
    floor(variance_reduction * 100) / 100 as variance_reduction,
    min(loading) as loading,
    arg_min(params, loading) as params
from analysis.pricing_frontier
where customer_dimension = 'organisation' and loading_principle = $$principle and variance_reduction is not null
group by mechanism, floor(variance_reduction * 100)
order by mechanism, variance_reduction
