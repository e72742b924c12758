-- What the prompt cache saved, by source and model
-- minor: cache_writes_1h, cache_writes_5m, cost_without_cache_usd, reads_per_write, cache_reads
select
    source,
    model,
    sum(total_cache_reads)::bigint as cache_reads,
    sum(total_cache_writes_5m)::bigint as cache_writes_5m,
    sum(total_cache_writes_1h)::bigint as cache_writes_1h,
    sum(total_tokens)::bigint as total_tokens,
    round(sum(total_cache_reads) * 100.0 / nullif(sum(total_tokens), 0), 2) as cache_hit_percentage,
    round(sum(total_cache_reads)::double / nullif(sum(total_cache_writes_5m + total_cache_writes_1h), 0), 2)
        as reads_per_write,
    sum(cost_usd) as cost_usd,
    sum(cost_without_cache_usd) as cost_without_cache_usd,
    sum(cache_savings_usd) as cache_savings_usd
from marts.cache_efficiency_stats
group by source, model
order by source, total_tokens desc, model
