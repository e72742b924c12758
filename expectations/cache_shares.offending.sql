-- Rows with a share outside its range, or different from the share of their tokens.
select
    usage_date,
    source,
    provider,
    model,
    user_id,
    api_key,
    workspace,
    total_cache_reads,
    total_tokens,
    cache_hit_percentage,
    cache_read_share_of_input
from marts.cache_efficiency_stats
where
    total_tokens > 0 and cache_hit_percentage is null
    or not coalesce(cache_hit_percentage between 0 and 100, true)
    or not coalesce(cache_read_share_of_input between 0 and 1, true)
    or total_tokens > 0 and abs(cache_hit_percentage - 100.0 * total_cache_reads / total_tokens) > 1e-6
order by all
