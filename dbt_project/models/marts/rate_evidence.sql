{#
    Evidence on each rate from the bill of a month. Cells are pooled, which reveals differences that are too small
    for a single cell. Only cells with certain token counts are used.
#}
with cells as (
    select
        *,
        date_trunc('month', usage_date)::date as month,
        coalesce(console_tokens, logged_tokens) as tokens,
        coalesce(console_cost_usd, logged_cost_usd) as computed_cost_usd
    from {{ ref('usage_reconciliation') }}
    where detectable_rate_change is not null
),

pooled as (
    select
        month,
        provider,
        model,
        token_kind,
        count(*) as cells,
        count(*) filter (where is_undetectable) as undetectable_cells,
        sum(tokens)::bigint as tokens,
        sum(billed_cost_usd)::decimal(38, 12) as billed_cost_usd,
        sum(computed_cost_usd)::decimal(38, 12) as computed_cost_usd,
        sum(billed_cost_usd - computed_cost_usd)::decimal(38, 12) as cost_gap_usd,
        sum(rounding_tolerance_usd)::decimal(38, 12) as rounding_tolerance_usd
    from cells
    group by month, provider, model, token_kind
),

measured as (
    select
        *,
        greatest(billed_cost_usd - rounding_tolerance_usd, 0)::double * 1e6 / nullif(tokens, 0) as implied_rate_low,
        (billed_cost_usd + rounding_tolerance_usd)::double * 1e6 / nullif(tokens, 0) as implied_rate_high,
        (rounding_tolerance_usd + abs(cost_gap_usd))::double / computed_cost_usd::double as detectable_rate_change
    from pooled
)

select
    *,
    case
        when abs(cost_gap_usd) > rounding_tolerance_usd then 'mispriced'
        when detectable_rate_change > 0.01 then 'undetectable'
        else 'agrees'
    end as verdict
from measured
order by month, provider, model, token_kind
