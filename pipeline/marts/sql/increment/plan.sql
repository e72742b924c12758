-- Work of the pending files in batches of bounded size: days of exports, and files of logs.
with pending as (
    select files.*
    from ingest.files as files
    inner join scope.pending_files using (file_sha256)
    where files.status = 'loaded'
),

export_days as (
    select distinct
        unnest(generate_series(first_usage_date::timestamp, last_usage_date::timestamp, interval 1 day))::date as usage_date
    from pending
    where file_sha256 in (select file_sha256 from raw.exports) and first_usage_date is not null
),

-- The range condition limits the scan to the row groups of these days.
stored as (
    select
        usage_start::date as usage_date,
        count(*) as row_count
    from raw.console_usage
    where
        usage_start >= (select min(usage_date) from export_days)
        and usage_start < (select max(usage_date) + 1 from export_days)
    group by all
),

day_sizes as (
    select
        usage_date,
        coalesce(stored.row_count, 0) as row_count
    from export_days
    left join stored using (usage_date)
)

select
    'day' as kind,
    usage_date::varchar as item,
    ((sum(row_count) over (order by usage_date) - row_count) // $$1)::integer as batch
from day_sizes
union all
select
    'file' as kind,
    file_sha256 as item,
    ((sum(rows_loaded) over (order by first_usage_date, file_sha256) - rows_loaded) // $$1)::integer as batch
from pending
where file_sha256 not in (select file_sha256 from raw.exports)
order by batch, kind, item
