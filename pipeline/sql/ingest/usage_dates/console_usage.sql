select min(usage_start)::date as first_usage_date, max(usage_start)::date as last_usage_date from raw.console_usage where file_sha256 = $$sha256
