-- Users, the most expensive first, from session logs (only these name users)
-- minor: api_equivalent_usd, models, sessions, first_used
select
    user_id,
    count(*) as sessions,
    count(distinct primary_model) as models,
    sum(total_tokens)::bigint as total_tokens,
    sum(estimated_cost_usd) filter (where billing_mode = 'metered') as cost_usd,
    sum(estimated_cost_usd) filter (where billing_mode <> 'metered') as api_equivalent_usd,
    count(*) filter (where estimated_cost_usd is null) as unpriced_sessions,
    min(session_started_at)::date as first_used,
    max(last_updated_at)::date as last_used
from marts.token_usage_sessions
group by user_id
order by cost_usd desc nulls last, total_tokens desc, user_id
