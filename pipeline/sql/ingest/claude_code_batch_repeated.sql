-- The lines of those responses of batch_groups whose lines differ, for the whole rule of claude_code_requests.sql.
with odd_groups as (
    select * from batch_groups
    where is_usage and not is_plain
),

-- Few files have any: the others are left out before their texts are looked at.
lines as materialized (
    select * from batch_lines
    where is_usage and file_index in (select file_index from odd_groups)
)

select
    files.file_sha256,
    coalesce(lines.fields[14] = 'true', false) as is_sidechain,
    ${columns}
from lines
inner join odd_groups as groups
    on
        lines.file_index = groups.file_index
        and lines.fields[9] = groups.message_id
        and coalesce(lines.fields[10], '') = groups.request_id
inner join (select unnest($$1::bigint[]) as file_index, unnest($$2::varchar[]) as file_sha256) as files
    on lines.file_index = files.file_index
