-- The lines of those responses of batch_groups whose lines differ, for the whole rule of claude_code_requests.sql.
select
    files.file_sha256,
    coalesce(lines.fields[14] = 'true', false) as is_sidechain,
    ${columns}
from batch_lines as lines
inner join batch_groups as groups
    on
        lines.file_index = groups.file_index
        and lines.fields[9] = groups.message_id
        and coalesce(lines.fields[10], '') = groups.request_id
inner join (select unnest($$1::bigint[]) as file_index, unnest($$2::varchar[]) as file_sha256) as files
    on lines.file_index = files.file_index
where not groups.is_plain and lines.is_usage
