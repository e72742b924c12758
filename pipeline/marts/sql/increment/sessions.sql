-- Sessions that own, or may own, a touched response, and sessions with a new record.
insert or ignore into scope.sessions
select session_id
from raw.requests
where response_id in (select item from scope.responses) and session_id <> ''
union
select session_id
from raw.usage_sessions
where file_sha256 in (select unnest($$1::varchar[]))
