-- The numbers behind each saving, one row per key and model: days, counts, tokens and the most expensive sessions.
with by_session as (
    select
        provider, model, api_key, workspace, project, session_id,
        count(*) filter (where in_cache_policy) as policy_requests,
        sum(cost_usd) filter (where in_cache_policy) as policy_cost_usd,
        sum(write_5m_tokens) as write_5m_tokens,
        sum(write_1h_tokens) as write_1h_tokens,
        sum(read_tokens) as read_tokens,
        count(*) filter (where unread_usd > 0) as unread_requests,
        sum(unread_tokens) filter (where unread_usd > 0) as unread_tokens,
        sum(unread_usd) as unread_usd,
        count(*) filter (where lost_tokens > 0) as losses,
        sum(lost_tokens) as lost_tokens,
        sum(rewritten_usd) as rewritten_usd,
        sum(lost_usd) as lost_usd,
        count(*) filter (where surcharge_usd > 0) as surcharged_requests,
        sum(surcharge_usd) as surcharge_usd,
        count(*) filter (where long_usd > 0) as long_requests,
        max(input_tokens) filter (where long_usd > 0) as long_input_tokens,
        sum(long_usd) as long_usd,
        count(*) filter (where runaway_usd > 0) as runaway_requests,
        sum(runaway_usd) as runaway_usd,
        sum(input_tokens) filter (where runaway_usd > 0) as runaway_input_tokens,
        sum(output_tokens) filter (where runaway_usd > 0) as runaway_output_tokens
    from temp.savings_replay
    group by all
),

subjects as (
    select
        provider, model, api_key, workspace, project,
        min(requested_at)::date as first_usage_date,
        max(requested_at)::date as last_usage_date,
        count(distinct requested_at::date) as active_days,
        -- a subscription's transcripts write one-hour caches, except in subagents; those paid by usage, five-minute ones
        bool_and(source_format = 'claude_code')
        and sum(write_1h_tokens) > 0
        and coalesce(sum(write_5m_tokens) filter (where not is_sidechain), 0) = 0 as looks_like_a_seat
    from temp.savings_replay
    group by all
),

summed as (
    select
        provider, model, api_key, workspace, project,
        sum(policy_requests)::bigint as policy_requests,
        sum(policy_cost_usd)::decimal(38, 12) as policy_cost_usd,
        sum(write_5m_tokens)::bigint as write_5m_tokens,
        sum(write_1h_tokens)::bigint as write_1h_tokens,
        sum(read_tokens)::bigint as read_tokens,
        count(*) filter (where session_id <> '') as sessions,
        sum(unread_requests)::bigint as unread_requests,
        coalesce(sum(unread_tokens), 0)::bigint as unread_tokens,
        sum(unread_usd)::decimal(38, 12) as unread_usd,
        list(session_id order by unread_usd desc, session_id) filter (where unread_usd > 0 and session_id <> '')[:3]
            as unread_examples,
        sum(losses)::bigint as losses,
        coalesce(sum(lost_tokens), 0)::bigint as lost_tokens,
        sum(rewritten_usd)::decimal(38, 12) as rewritten_usd,
        sum(lost_usd)::decimal(38, 12) as lost_usd,
        count(*) filter (where losses > 0) as lost_sessions,
        list(session_id order by lost_usd desc, session_id) filter (where lost_usd <> 0)[:3] as lost_examples,
        sum(surcharged_requests)::bigint as surcharged_requests,
        sum(surcharge_usd)::decimal(38, 12) as surcharge_usd,
        sum(long_requests)::bigint as long_requests,
        sum(long_usd)::decimal(38, 12) as long_usd,
        max(long_input_tokens) as long_input_tokens,
        sum(runaway_requests)::bigint as runaway_requests,
        sum(runaway_input_tokens)::bigint as runaway_input_tokens,
        sum(runaway_output_tokens)::bigint as runaway_output_tokens,
        count(*) filter (where runaway_usd > 0) as runaway_sessions,
        list(session_id order by runaway_usd desc, session_id) filter (where runaway_usd > 0)[:3] as runaway_examples
    from by_session
    group by all
)

select *
from summed
inner join subjects using (provider, model, api_key, workspace, project)
order by provider, model, api_key, workspace, project
