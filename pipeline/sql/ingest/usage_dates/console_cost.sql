select min(usage_date) as first_usage_date, max(usage_date) as last_usage_date from raw.console_costs where file_sha256 = $$sha256
