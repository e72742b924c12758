-- Rows of raw.requests, one per response of a transcript.
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
    -- resellers of Anthropic's models mark the ids of responses; else the provider follows from the model
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
    -- Cache writes without a lifetime: 5 minutes, the API's default.
    cache_write_5m + greatest(cache_creation - cache_write_5m - cache_write_1h, 0) as input_tokens_cache_write_5m,
    cache_write_1h as input_tokens_cache_write_1h,
    input_tokens_cache_read,
    output_tokens,
    web_search_count,
    cache_creation > cache_write_5m + cache_write_1h as cache_split_assumed
from transcript_rows
