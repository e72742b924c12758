select min(requested_at)::date as first_usage_date, max(requested_at)::date as last_usage_date from raw.requests where file_sha256 = $$sha256
