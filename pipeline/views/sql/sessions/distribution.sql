-- Sessions by cost: bins of equal width of the logarithm, and the family that fits the costs best.
with costs as (
    select estimated_cost_usd as cost_usd
    from marts.token_usage_sessions
    where estimated_cost_usd > 0 and billing_mode is distinct from 'subscription' and ${filters}
),

width as (
    select if(count(*) < 300, 4, 10) as per_decade from costs
),

bins as (
    select
        width.per_decade,
        cast(floor(log10(cast(costs.cost_usd as double)) * width.per_decade) as integer) as bin,
        count(*) as sessions,
        sum(costs.cost_usd) as cost_usd
    from costs
    cross join width
    group by all
),

fits as (
    select family, params, n
    from analysis.distribution_fits
    where measure = 'session_cost_usd' and segment = $$segment and rank = 1
    order by treatment = 'adjusted' desc
    limit 1
)

select
    pow(10.0, bins.bin / bins.per_decade) as from_usd,
    pow(10.0, (bins.bin + 1) / bins.per_decade) as to_usd,
    bins.sessions,
    cast(bins.sessions / sum(bins.sessions) over () as double) as share_of_sessions,
    cast(bins.cost_usd as decimal(38, 12)) as cost_usd,
    cast(bins.cost_usd / sum(bins.cost_usd) over () as double) as share_of_cost,
    fits.family as fitted_family,
    fits.params as fitted_params,
    fits.n as fitted_sessions
from bins
left join fits on true
order by bins.bin
