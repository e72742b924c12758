-- The most expensive sessions of the flagged days, from the logs.
with flags as (
    select distinct usage_date, top_sessions
    from analysis.usage_anomalies
    where kind = 'shock' and top_sessions is not null and ($$segment = 'all' or segment = $$segment) and ${filters}
),

behind as (
    select
        usage_date,
        unnest(from_json(top_sessions, '[{"session_id": "VARCHAR", "cost_usd": "DOUBLE"}]'), recursive := true)
    from flags
)

select distinct
    behind.usage_date,
    behind.session_id,
    behind.cost_usd,
    sessions.user_id,
    sessions.project,
    sessions.primary_model
from behind
left join marts.token_usage_sessions as sessions on behind.session_id = sessions.session_id
order by behind.usage_date desc, behind.cost_usd desc, behind.session_id
