-- Each response of batch_groups whose lines agree in all but their counts, as the line that stands.
with kept as (
    select
        files.file_sha256,
        groups.is_sidechain,
        groups.requested_at,
        ${columns}
    from batch_groups as groups
    inner join batch_lines as lines on groups.kept_place = lines.rowid
    inner join (select unnest($$1::bigint[]) as file_index, unnest($$2::varchar[]) as file_sha256) as files
        on groups.file_index = files.file_index
    where groups.is_usage and groups.is_plain
)

select
    file_sha256,
    'claude_code' as source_format,
    message_id || if(request_id = '', '', ':' || request_id) as request_key,
    message_id as response_id,
    message_id <> '' as states_response_id,
    session_id,
    is_sidechain,
    requested_at,
    logged_at as kept_at,
    uuid as kept_id,
    'anthropic' as provider,
    model_version,
    project,
    usage_type,
    inference_geo,
    speed,
    no_cache_tokens as input_tokens_no_cache,
    write_5m_tokens + unsplit_writes as input_tokens_cache_write_5m,
    write_1h_tokens as input_tokens_cache_write_1h,
    read_tokens as input_tokens_cache_read,
    output_count as output_tokens,
    web_search_count,
    unsplit_writes > 0 as cache_split_assumed
from kept
