-- What was loaded of each format.
select
    coalesce(nullif(format, ''), '(no known format)') as format,
    count(*) filter (where status = 'loaded') as files_loaded,
    count(*) filter (where status in ('failed', 'unrecognised')) as files_failed,
    cast(sum(rows_read) as bigint) as rows_read,
    cast(sum(rows_loaded) as bigint) as rows_loaded,
    cast(sum(rows_rejected) as bigint) as rows_rejected,
    cast(sum(rows_ignored) as bigint) as rows_ignored,
    cast(sum(rows_repeated) as bigint) as rows_repeated,
    max(last_usage_date) as last_usage_date,
    max(loaded_at) as loaded_at
from ingest.files
where status <> 'forgotten' and format <> 'side_file'
group by all
order by rows_read desc, format
