-- Adds the rows of these files in the marts to the scope of the next build. One statement per table.
insert or ignore into scope.days
select usage_start::date from raw.console_usage where ${condition_usage}
union
select usage_date from raw.console_costs where ${condition_costs}
union
select requested_at::date from raw.requests where ${condition_requests}
union
select session_started_at::date from raw.usage_sessions where ${condition_sessions}
union
select unnest(generate_series(first_usage_date::timestamp, last_usage_date::timestamp, interval 1 day))::date
from ingest.files
where ${condition_files} and file_sha256 in (select file_sha256 from raw.exports) and first_usage_date is not null;

insert or ignore into scope.responses
select distinct response_id from raw.requests where ${condition_requests};

insert or ignore into scope.sessions
select session_id from raw.requests where ${condition_requests} and session_id <> ''
union
select session_id from raw.usage_sessions where ${condition_sessions};
