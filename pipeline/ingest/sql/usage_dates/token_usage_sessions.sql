select min(session_started_at)::date as first_usage_date, max(session_started_at)::date as last_usage_date from raw.usage_sessions where file_sha256 = $$sha256
