select
    format,
    status,
    count(*) as files,
    sum(rows_read)::bigint as rows_read,
    sum(rows_loaded)::bigint as rows_loaded,
    sum(rows_rejected)::bigint as rows_rejected,
    sum(rows_ignored)::bigint as rows_ignored,
    sum(rows_repeated)::bigint as rows_repeated,
    min(first_usage_date) as first_usage_date,
    max(last_usage_date) as last_usage_date,
    max(loaded_at)::timestamp(0) as last_loaded_at
from ingest.files
group by format, status
order by status, format
