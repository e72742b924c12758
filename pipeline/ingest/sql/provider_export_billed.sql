select
    max(usage_date)::timestamp + interval 1 day as reaches_to,
    86400 as bucket_seconds,
    null::varchar as stated
from raw.console_costs
where file_sha256 = $$sha256
