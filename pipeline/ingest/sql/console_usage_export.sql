insert or replace into raw.exports by name
select
    file_sha256,
    max(usage_start + to_seconds(bucket_seconds)) as reaches_to,
    'anthropic' as provider,
    'console' as side
from raw.console_usage
where file_sha256 = ?
group by file_sha256
