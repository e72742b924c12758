-- Sessions, the most expensive first
-- minor: duration_seconds, source_format, requests, primary_model, project
select
    session_id,
    source_format,
    user_id,
    project,
    session_started_at,
    duration_seconds,
    primary_model,
    request_count as requests,
    total_tokens,
    estimated_cost_usd as cost_usd
from marts.token_usage_sessions
order by estimated_cost_usd desc nulls last, total_tokens desc, session_id
