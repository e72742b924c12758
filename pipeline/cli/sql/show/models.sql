-- Tokens and cost by model
-- minor: percent_of_non_cache_tokens, requests, percent_of_tokens, percent_of_cost, provider
select
    source,
    provider,
    model,
    total_tokens,
    round(share_of_tokens * 100, 2) as percent_of_tokens,
    round(share_of_non_cache_tokens * 100, 2) as percent_of_non_cache_tokens,
    request_count as requests,
    total_cost_usd as cost_usd,
    round(share_of_cost * 100, 2) as percent_of_cost,
    first_used,
    last_used
from marts.model_usage_stats
order by source, total_tokens desc, model
