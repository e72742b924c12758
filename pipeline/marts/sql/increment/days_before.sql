-- Every day with such a record after the last build.
insert or ignore into scope.days
select requested_at::date
from intermediate.int_requests
where response_id in (select item from scope.responses) or session_id in (select item from scope.sessions)
union
select session_started_at::date
from intermediate.int_session_records
where session_id in (select item from scope.sessions)
