select
    max(usage_start + to_seconds(bucket_seconds)) as reaches_to,
    min(bucket_seconds) as bucket_seconds,
    any_value(stated) as stated
from raw.console_usage
where file_sha256 = $$sha256
