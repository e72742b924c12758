insert or ignore into scope.sessions
select session_id
from intermediate.int_requests
where response_id in (select item from scope.responses) and session_id <> ''
