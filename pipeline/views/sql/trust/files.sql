-- Landed files, those with problems first.
select
    path,
    nullif(format, '') as format,
    status,
    nullif(message, '') as message,
    rows_read,
    rows_loaded,
    rows_rejected,
    rows_ignored,
    rows_repeated,
    first_usage_date,
    last_usage_date,
    loaded_at,
    file_sha256
from ingest.files
order by status = 'loaded', rows_rejected desc, loaded_at desc, path
