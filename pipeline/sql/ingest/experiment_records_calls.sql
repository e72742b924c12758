-- The format's repeat rule inside one file: equal lines of one run and time are one record.
select
    ${file_sha256} as file_sha256,
    'experiment_records' as source_format,
    request_key,
    request_key as response_id,
    any_value(session_id) as session_id,
    false as is_sidechain,
    any_value(logged_at) as requested_at,
    any_value(logged_at) as kept_at,
    any_value(record_md5) as kept_id,
    any_value(provider) as provider,
    any_value(model_version) as model_version,
    any_value(project) as project,
    any_value(usage_type) as usage_type,
    any_value(inference_geo) as inference_geo,
    any_value(speed) as speed,
    any_value(no_cache_tokens) as input_tokens_no_cache,
    any_value(write_5m_tokens) as input_tokens_cache_write_5m,
    any_value(write_1h_tokens) as input_tokens_cache_write_1h,
    any_value(read_tokens) as input_tokens_cache_read,
    any_value(output_count) as output_tokens,
    any_value(web_search_count) as web_search_count,
    any_value(unsplit_writes > 0 and shape = 'anthropic') as cache_split_assumed,
    any_value(api_key) as api_key,
    any_value(workspace) as workspace
from record_lines
where kind <> 'ignored' and reason is null
group by request_key
