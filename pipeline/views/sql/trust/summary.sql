-- Files and rows in one row.
select
    count(*) filter (where status = 'loaded') as loaded,
    count(*) filter (where status = 'failed') as failed,
    -- a side file is known to hold no usage
    count(*) filter (where status = 'unrecognised' and format <> 'side_file') as unrecognised,
    cast(coalesce(sum(rows_read), 0) as bigint) as rows_read,
    cast(coalesce(sum(rows_rejected), 0) as bigint) as rows_rejected,
    max(loaded_at) as loaded_at
from ingest.files
where status <> 'forgotten'
