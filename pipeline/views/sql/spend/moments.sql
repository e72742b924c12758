-- Cost, tokens and requests by hour or minute, split by one dimension; only usage whose time is known that exactly.
with usage as (
    select
        date_trunc('${grain}', usage_minute) as period,
        ${by} as part,
        if(billing_mode = 'metered', estimated_cost_usd, null) as cost_usd,
        total_tokens as tokens,
        output_tokens,
        request_count
    from marts.token_usage_minutes
    where bucket_seconds <= ${widest_seconds} and ${filters}
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
    cast(sum(usage.tokens - usage.output_tokens) as bigint) as input_tokens,
    cast(sum(usage.output_tokens) as bigint) as output_tokens,
    cast(sum(usage.request_count) as bigint) as requests
from usage
inner join parts on usage.part is not distinct from parts.part
group by all
order by period, cost_usd desc, part
