-- One row per format and status: files, their rows, and files with rows that are not accounted for.
with

checked as (
    select
        *,
        rows_read is distinct from rows_loaded + rows_rejected + rows_ignored + rows_repeated
            or least(rows_read, rows_loaded, rows_rejected, rows_ignored, rows_repeated) < 0 as is_off
    from ingest.files
)

select
    format,
    status,
    count(*) as rows_checked,
    count(*) filter (is_off) as files_off,
    sum(rows_read)::bigint as rows_read,
    sum(rows_loaded)::bigint as rows_loaded,
    sum(rows_rejected)::bigint as rows_rejected,
    sum(rows_ignored)::bigint as rows_ignored,
    sum(rows_repeated)::bigint as rows_repeated
from checked
group by all
order by all
