insert into ingest.files
with dates as (${usage_dates})

select
    $$sha256,
    $$path,
    $$format,
    $$grain,
    $$bytes,
    dates.first_usage_date,
    dates.last_usage_date,
    $$rows_read,
    $$rows_loaded,
    $$rows_rejected,
    $$rows_ignored,
    $$rows_repeated,
    now()::timestamp,
    'loaded',
    $$message
from dates
