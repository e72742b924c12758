-- The most expensive sessions that together make half of the cost, at most 1,000; their number, and that of all sessions.
with costs as (
    select
        session_id,
        estimated_cost_usd as cost_usd
    from marts.token_usage_sessions
    where estimated_cost_usd is not null and billing_mode is distinct from 'subscription' and ${filters}
),

ranked as (
    select
        *,
        row_number() over by_cost as place,
        sum(cost_usd) over by_cost as upto_usd,
        sum(cost_usd) over () as total_usd,
        count(*) over () as sessions
    from costs
    window by_cost as (order by cost_usd desc, session_id rows between unbounded preceding and current row)
),

chosen as (
    select *, count(*) over () as needed
    from ranked
    where total_usd > 0 and 2 * (upto_usd - cost_usd) < total_usd
)

select
    chosen.place,
    session_id,
    chosen.cost_usd,
    cast(chosen.upto_usd / chosen.total_usd as double) as upto_share,
    sessions.session_started_at,
    sessions.user_id,
    sessions.project,
    sessions.api_key,
    sessions.primary_model,
    sessions.request_count,
    sessions.total_tokens,
    chosen.needed,
    chosen.sessions
from chosen
inner join marts.token_usage_sessions as sessions using (session_id)
where chosen.place <= 1000
order by chosen.place
