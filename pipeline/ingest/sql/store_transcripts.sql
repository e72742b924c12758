-- One row for each response that a transcript reports, as raw.requests holds it.
select
    file_sha256,
    ${source_format} as source_format,
    request_key,
    if(response_id = '', kept_id, response_id) as response_id,
    response_id <> '' as states_response_id,
    message_id,
    session_id,
    is_sidechain,
    requested_at,
    kept_at,
    kept_id,
    -- who resells Anthropic's models marks their ids; else the model tells who made or sold it
    case when starts_with(response_id, 'msg_bdrk_') then 'aws' when starts_with(response_id, 'msg_vrtx_') then 'google' else '' end
        as provider,
    model_version,
    project,
    usage_type,
    if(inference_geo = 'not_available', '', inference_geo) as inference_geo,
    speed,
    lane,
    begins_anew,
    input_tokens_no_cache,
    -- Writes that are told of without the time they are kept for: 5 minutes, the API's default.
    cache_write_5m + greatest(cache_creation - cache_write_5m - cache_write_1h, 0) as input_tokens_cache_write_5m,
    cache_write_1h as input_tokens_cache_write_1h,
    input_tokens_cache_read,
    output_tokens,
    web_search_count,
    cache_creation > cache_write_5m + cache_write_1h as cache_split_assumed
from transcript_rows
