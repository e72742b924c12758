-- The format's repeat rule inside a file: of the lines of one response the one with the greatest output stands, then
-- the latest, then the greatest uuid; its time is the first line's; tier, geo and speed are the first non-empty ones.
with keyed as (
    select
        *,
        if(message_id = '', uuid, message_id || if(request_id = '', '', ':' || request_id)) as request_key
    from (${lines})
)

select
    file_sha256,
    'claude_code' as source_format,
    request_key,
    any_value(if(message_id = '', uuid, message_id)) as response_id,
    any_value(message_id) <> '' as states_response_id,
    arg_min(session_id, {seen: logged_at, id: session_id}) as session_id,
    bool_and(is_sidechain) as is_sidechain,
    min(logged_at) as requested_at,
    arg_max(logged_at, {output: output_count, seen: logged_at, id: uuid}) as kept_at,
    arg_max(uuid, {output: output_count, seen: logged_at, id: uuid}) as kept_id,
    'anthropic' as provider,
    arg_max(model_version, {output: output_count, seen: logged_at, id: uuid}) as model_version,
    arg_min(project, {seen: logged_at, id: project}) as project,
    coalesce(arg_min(usage_type, {seen: logged_at, id: usage_type}) filter (where usage_type <> ''), '') as usage_type,
    coalesce(arg_min(inference_geo, {seen: logged_at, id: inference_geo}) filter (where inference_geo <> ''), '')
        as inference_geo,
    coalesce(arg_min(speed, {seen: logged_at, id: speed}) filter (where speed <> ''), '') as speed,
    arg_max(no_cache_tokens, {output: output_count, seen: logged_at, id: uuid}) as input_tokens_no_cache,
    arg_max(write_5m_tokens + unsplit_writes, {output: output_count, seen: logged_at, id: uuid})
        as input_tokens_cache_write_5m,
    arg_max(write_1h_tokens, {output: output_count, seen: logged_at, id: uuid}) as input_tokens_cache_write_1h,
    arg_max(read_tokens, {output: output_count, seen: logged_at, id: uuid}) as input_tokens_cache_read,
    arg_max(output_count, {output: output_count, seen: logged_at, id: uuid}) as output_tokens,
    arg_max(web_search_count, {output: output_count, seen: logged_at, id: uuid}) as web_search_count,
    arg_max(unsplit_writes > 0, {output: output_count, seen: logged_at, id: uuid}) as cache_split_assumed
from keyed
group by file_sha256, request_key
