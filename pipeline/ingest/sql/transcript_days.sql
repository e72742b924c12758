-- The days of usage of each file, without days that `forget --before` excludes.
select
    file_sha256,
    min(requested_at)::date as first_usage_date,
    max(requested_at)::date as last_usage_date
from transcript_rows
cross join (select coalesce(max(before_date), date '0001-01-01') as kept_from from raw.retention) as retention
where requested_at >= kept_from
group by file_sha256
