-- What caching saved, the worst first: reads are cheaper than input, writes are more expensive.
with usage as (
    select *
    from marts.cache_efficiency_stats
    inner join (
        select usage_date, source, provider, model, api_key, workspace, is_in_force from marts.daily_usage
    ) as daily using (usage_date, source, provider, model, api_key, workspace)
    where ${filters}
),

summed as (
    select
        ${by} as ${by},
        coalesce(sum(cache_savings_usd), 0) as saved_usd,
        coalesce(sum(cost_usd), 0) as cost_usd,
        sum(total_cache_reads) as read_tokens,
        sum(total_cache_writes_5m + total_cache_writes_1h) as written_tokens,
        sum(total_cache_writes_1h) as written_1h_tokens,
        coalesce(sum(total_tokens) filter (where cache_savings_usd is null), 0) as unpriced_tokens
    from usage
    group by ${by}
)

select
    ${by},
    cast(saved_usd as decimal(38, 12)) as saved_usd,
    cast(cost_usd as decimal(38, 12)) as cost_usd,
    cast(read_tokens as bigint) as read_tokens,
    cast(written_tokens as bigint) as written_tokens,
    cast(written_1h_tokens / nullif(written_tokens, 0) as double) as share_1h,
    cast(read_tokens / nullif(written_tokens, 0) as double) as reads_per_write,
    cast(unpriced_tokens as bigint) as unpriced_tokens
from summed
order by saved_usd, reads_per_write nulls last, ${by}
