insert or ignore into scope.responses
select distinct response_id
from raw.requests
where file_sha256 in (select unnest($$1::varchar[]))
