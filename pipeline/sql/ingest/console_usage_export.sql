insert or replace into raw.exports
select
    file_sha256,
    max(usage_start + to_seconds(bucket_seconds)) as reaches_to
from raw.console_usage
where file_sha256 = ?
group by file_sha256
