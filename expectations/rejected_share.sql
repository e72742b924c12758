-- One row per format: the share of its rows that was rejected, and the number of its files with more than 5% rejected.
-- Files of fewer than 20 rows count only in their format: the last line of a log is often half-written.
select
    format,
    sum(rows_read)::bigint as rows_checked,
    sum(rows_rejected)::bigint as rows_rejected,
    100.0 * sum(rows_rejected) / sum(rows_read) as rejected_percentage,
    count(*) as files,
    count(*) filter (rows_read >= 20 and rows_rejected > 0.05 * rows_read) as files_over_5_percent
from ingest.files
where status in ('loaded', 'failed') and rows_read > 0
group by all
order by all
