select
    path,
    status,
    message
from ingest.files
where status in ('failed', 'unrecognised') and format <> 'side_file'
order by status, path
