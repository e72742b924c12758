-- All sessions of the logs, the most expensive first.
select
    session_id,
    session_started_at,
    user_id,
    project,
    api_key,
    primary_model,
    request_count,
    total_tokens,
    estimated_cost_usd as cost_usd,
    cast(input_tokens_cache_read / nullif(total_tokens - output_tokens, 0) as double) as cache_read_share,
    cast(duration_seconds as double) as duration_seconds
from marts.token_usage_sessions
where ${filters}
order by estimated_cost_usd desc nulls last, session_id
