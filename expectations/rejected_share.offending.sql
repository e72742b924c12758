-- Files with more than 5% of their rows rejected, and all files of a format with more than 5%; largest share first.
with

files as (
    select
        path,
        file_sha256,
        format,
        status,
        rows_read,
        rows_rejected,
        100.0 * rows_rejected / rows_read as rejected_percentage,
        sum(rows_rejected) over (partition by format) > 0.05 * sum(rows_read) over (partition by format) as format_is_over
    from ingest.files
    where status in ('loaded', 'failed') and rows_read > 0
)

select * exclude (format_is_over)
from files
where rows_rejected > 0 and (format_is_over or rows_read >= 20 and rows_rejected > 0.05 * rows_read)
order by rejected_percentage desc, path
