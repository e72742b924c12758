-- The most expensive sessions that together make half of the cost, at most 1,000; their number, and that of all sessions.
with ranked as (
    select
        *,
        row_number() over by_cost as place,
        sum(estimated_cost_usd) over by_cost as upto_usd,
        sum(estimated_cost_usd) over () as total_usd,
        count(*) over () as sessions
    from marts.token_usage_sessions
    where estimated_cost_usd is not null and billing_mode is distinct from 'subscription' and ${filters}
    window by_cost as (order by estimated_cost_usd desc, session_id rows between unbounded preceding and current row)
),

chosen as (
    select *, count(*) over () as needed
    from ranked
    where total_usd > 0 and 2 * (upto_usd - estimated_cost_usd) < total_usd
)

select
    place,
    session_id,
    estimated_cost_usd as cost_usd,
    cast(upto_usd / total_usd as double) as upto_share,
    session_started_at,
    user_id,
    project,
    api_key,
    primary_model,
    request_count,
    total_tokens,
    needed,
    sessions
from chosen
where place <= 1000
order by place
