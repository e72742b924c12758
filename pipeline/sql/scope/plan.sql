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
    where format in ('console_usage', 'console_cost') and first_usage_date is not null
),

day_sizes as (
    select
        export_days.usage_date,
        count(usage.usage_start) as row_count
    from export_days
    left join raw.console_usage as usage on usage.usage_start::date = export_days.usage_date
    group by export_days.usage_date
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
where format not in ('console_usage', 'console_cost')
order by batch, kind, item
