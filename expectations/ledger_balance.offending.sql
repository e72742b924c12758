-- Files with rows that are not accounted for.
select
    path,
    file_sha256,
    format,
    status,
    rows_read,
    rows_loaded + rows_rejected + rows_ignored + rows_repeated as rows_accounted_for,
    rows_loaded,
    rows_rejected,
    rows_ignored,
    rows_repeated
from ingest.files
where
    rows_read is distinct from rows_loaded + rows_rejected + rows_ignored + rows_repeated
    or least(rows_read, rows_loaded, rows_rejected, rows_ignored, rows_repeated) < 0
order by all
