-- Loaded files without rows, by message.
select
    format,
    message,
    count(*) as files,
    min(path) as example_path
from ingest.files
where status = 'loaded' and rows_loaded = 0
group by format, message
order by files desc, format, message
