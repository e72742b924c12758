-- Cost and tokens over time, split by one dimension; the eight most expensive parts by name.
with usage as (
    select
        cast(date_trunc('${grain}', usage_date) as date) as period,
        ${by} as part,
        if(billing_mode = 'metered', cost_usd, null) as cost_usd,
        if(token_kind = 'web_search', 0, tokens) as tokens,
        starts_with(token_kind, 'output') as is_output
    from marts.charges
    where ${filters}
),

parts as (
    select part, row_number() over (order by coalesce(sum(cost_usd), 0) desc, sum(tokens) desc, part) as place
    from usage
    group by part
)

select
    usage.period,
    if(parts.place <= 8, parts.part, '(all others)') as part,
    cast(coalesce(sum(usage.cost_usd), 0) as decimal(38, 12)) as cost_usd,
    cast(sum(usage.tokens) as bigint) as tokens,
    cast(coalesce(sum(usage.tokens) filter (where not usage.is_output), 0) as bigint) as input_tokens,
    cast(coalesce(sum(usage.tokens) filter (where usage.is_output), 0) as bigint) as output_tokens
from usage
inner join parts on usage.part is not distinct from parts.part
group by all
order by period, cost_usd desc, part
