-- What caching saved or cost, by key and model: negative where cache writes cost more than their reads saved
select
    source,
    workspace,
    api_key,
    model,
    sum(cost_usd) as cost_usd,
    sum(cost_without_cache_usd) as cost_without_cache_usd,
    sum(cache_savings_usd) as cache_savings_usd,
    round(sum(total_cache_reads)::double / nullif(sum(total_cache_writes_5m + total_cache_writes_1h), 0), 2)
        as reads_per_write
from marts.cache_efficiency_stats
group by source, workspace, api_key, model
order by cache_savings_usd, source, workspace, api_key, model
