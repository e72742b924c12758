-- One row: logged tokens in the minutes, in the sessions, and in the requests that name no session.
with

minutes as (
    select count(*) as mart_rows, coalesce(sum(total_tokens), 0)::bigint as total_tokens
    from marts.token_usage_minutes
    where source = 'sessions'
),

sessions as (
    select count(*) as mart_rows, coalesce(sum(total_tokens), 0)::bigint as total_tokens
    from marts.token_usage_sessions
),

without_session as (
    select coalesce(sum(total_tokens), 0)::bigint as total_tokens
    from marts.requests
    where session_id = ''
)

select
    minutes.mart_rows + sessions.mart_rows as rows_checked,
    minutes.total_tokens as token_usage_minutes,
    sessions.total_tokens as token_usage_sessions,
    without_session.total_tokens as requests_without_session,
    sessions.total_tokens + without_session.total_tokens as accounted_tokens
from minutes
cross join sessions
cross join without_session
