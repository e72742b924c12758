-- The session, its subagents' part, and what a typical session costs.
with asked as (
    select
        count(*) filter (where is_sidechain) as subagent_requests,
        coalesce(sum(estimated_cost_usd) filter (where is_sidechain), 0) as subagent_usd
    from marts.requests
    where session_id = $$id
)

select
    sessions.*,
    cast(sessions.input_tokens_cache_read / nullif(sessions.total_tokens - sessions.output_tokens, 0) as double) as cache_read_share,
    asked.subagent_requests,
    cast(asked.subagent_usd as decimal(38, 12)) as subagent_usd,
    (select median from analysis.tail_metrics where segment = 'all' and measure = 'session_cost_usd') as typical_usd
from marts.token_usage_sessions as sessions
cross join asked
where sessions.session_id = $$id
