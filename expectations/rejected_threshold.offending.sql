-- Files over the limit, or all files with rejected rows if all files together are over it; largest share first.
with

files as (
    select
        path,
        file_sha256,
        format,
        rows_read,
        rows_rejected,
        100.0 * rows_rejected / rows_read as rejected_percentage,
        rows_rejected / rows_read > getvariable('max_rejected_share')::double as is_over,
        sum(rows_rejected) over () / sum(rows_read) over () > getvariable('max_rejected_share')::double as all_are_over
    from ingest.files
    where status in ('loaded', 'failed') and rows_read > 0
),

reasons as (
    select
        file_sha256,
        mode(reason order by reason) as most_frequent_reason,
        min(line) as first_line
    from ingest.rejected_rows
    group by file_sha256
)

select
    files.* exclude (is_over, all_are_over),
    reasons.most_frequent_reason,
    reasons.first_line
from files
left join reasons on files.file_sha256 = reasons.file_sha256
where files.rows_rejected > 0 and (files.all_are_over or files.rows_read >= 20 and files.is_over)
order by files.rejected_percentage desc, files.path
