-- Every day with a record in scope now, whichever repeat will be in force.
insert or ignore into scope.days
select unnest($$1::date[])
union
select requested_at::date
from raw.requests
where response_id in (select item from scope.responses)
union
select session_started_at::date
from raw.usage_sessions
where session_id in (select item from scope.sessions)
