-- Files that hold a session's records: those named after it, else all of its format with usage on its days.
with session as (
    select
        session_id,
        source_format,
        cast(session_started_at as date) as first_day,
        cast(last_updated_at as date) as last_day
    from marts.token_usage_sessions
    where session_id = $$id
),

candidates as (
    select
        files.*,
        -- a short id may be part of any name
        length(session.session_id) >= 8 and contains(files.path, session.session_id) as is_named,
        files.format = session.source_format
        and files.first_usage_date <= session.last_day
        and files.last_usage_date >= session.first_day as is_of_days
    from ingest.files as files
    cross join session
    where files.status = 'loaded'
)

select
    path,
    format,
    first_usage_date,
    last_usage_date,
    rows_loaded,
    loaded_at,
    is_named,
    file_sha256
from candidates
where is_named or (is_of_days and not exists (select 1 from candidates as others where others.is_named))
order by path
