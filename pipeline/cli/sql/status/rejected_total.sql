select
    coalesce(sum(rows_rejected), 0)::bigint as rows_rejected,
    coalesce(sum(rows_read), 0)::bigint as rows_read,
    count(*) filter (rows_rejected > 0) as files_with_rejected_rows,
    count(*) as files
from ingest.files
where status = 'loaded'
