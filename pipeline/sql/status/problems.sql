select
    path,
    status,
    message
from ingest.files
where status in ('failed', 'unrecognised')
order by status, path
