-- One row, or none if no limit is set: rejected rows, and the files with a share over max_rejected_share, largest first.
-- Files of fewer than 20 rows count only in the total: the last line of a log is often half-written.
with

files as (
    select
        path,
        rows_read,
        rows_rejected
    from ingest.files
    where status in ('loaded', 'failed') and rows_read > 0 and getvariable('max_rejected_share') is not null
),

shares as (
    select
        path as subject,
        rows_rejected / rows_read as rejected_share
    from files
    where rows_read >= 20
    union all
    select
        'all files' as subject,
        sum(rows_rejected) / sum(rows_read) as rejected_share
    from files
),

above_limit as (
    select
        subject,
        rejected_share
    from shares
    where rejected_share > getvariable('max_rejected_share')::double
),

total as (
    select
        sum(rows_read)::bigint as rows_checked,
        sum(rows_rejected)::bigint as rows_rejected
    from files
    having count(*) > 0
),

named as (
    select
        count(*) as subjects,
        coalesce(
            array_to_string(
                list(format('{} ({:.1f}%)', subject, 100 * rejected_share) order by rejected_share desc, subject)[:5], ', '
            ),
            ''
        ) as first_subjects
    from above_limit
)

select
    total.rows_checked,
    total.rows_rejected,
    getvariable('max_rejected_share')::double as max_rejected_share,
    named.first_subjects || if(named.subjects > 5, format(' and {} more', named.subjects - 5), '') as over_limit
from total
cross join named
