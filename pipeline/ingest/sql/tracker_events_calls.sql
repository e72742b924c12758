-- Events of the tracker; events with the same response or the same id are one call.
with keyed as (
    select
        *,
        'tracker_events:' || coalesce(
            nullif(response_id, ''), nullif(event_id, ''), strftime(logged_at, '%Y-%m-%dT%H:%M:%S.%f') || ':' || record_md5
        ) as call_key
    from record_lines
    where kind <> 'ignored' and reason is null
)

select
    ${file_sha256} as file_sha256,
    'tracker_events' as source_format,
    'tracker' as logger,
    call_key as request_key,
    coalesce(nullif(any_value(response_id), ''), call_key) as response_id,
    any_value(response_id) <> '' as states_response_id,
    arg_min(coalesce(nullif(session_id, ''), conversation_id), {seen: logged_at, id: record_md5}) as session_id,
    false as is_sidechain,
    min(logged_at) as requested_at,
    arg_max(logged_at, {output: output_count, seen: logged_at, id: record_md5}) as kept_at,
    arg_max(record_md5, {output: output_count, seen: logged_at, id: record_md5}) as kept_id,
    arg_max(provider, {output: output_count, seen: logged_at, id: record_md5}) as provider,
    arg_max(model_version, {output: output_count, seen: logged_at, id: record_md5}) as model_version,
    arg_min(project, {seen: logged_at, id: record_md5}) as project,
    arg_min(user_id, {seen: logged_at, id: record_md5}) as user_id,
    arg_min(api_key, {seen: logged_at, id: record_md5}) as api_key,
    arg_min(workspace, {seen: logged_at, id: record_md5}) as workspace,
    arg_max(usage_type, {output: output_count, seen: logged_at, id: record_md5}) as usage_type,
    arg_max(inference_geo, {output: output_count, seen: logged_at, id: record_md5}) as inference_geo,
    arg_max(speed, {output: output_count, seen: logged_at, id: record_md5}) as speed,
    arg_max(no_cache_tokens, {output: output_count, seen: logged_at, id: record_md5}) as input_tokens_no_cache,
    arg_max(write_5m_tokens, {output: output_count, seen: logged_at, id: record_md5}) as input_tokens_cache_write_5m,
    arg_max(write_1h_tokens, {output: output_count, seen: logged_at, id: record_md5}) as input_tokens_cache_write_1h,
    arg_max(read_tokens, {output: output_count, seen: logged_at, id: record_md5}) as input_tokens_cache_read,
    arg_max(output_count, {output: output_count, seen: logged_at, id: record_md5}) as output_tokens,
    arg_max(if(stated_cost_usd >= 0, stated_cost_usd, null), {output: output_count, seen: logged_at, id: record_md5})
        as logged_cost_usd,
    arg_max(parts.input_audio_tokens, {output: output_count, seen: logged_at, id: record_md5}) as input_audio_tokens,
    arg_max(parts.input_image_tokens, {output: output_count, seen: logged_at, id: record_md5}) as input_image_tokens,
    arg_max(parts.cache_read_audio_tokens, {output: output_count, seen: logged_at, id: record_md5}) as cache_read_audio_tokens,
    arg_max(parts.cache_read_image_tokens, {output: output_count, seen: logged_at, id: record_md5}) as cache_read_image_tokens,
    arg_max(parts.output_audio_tokens, {output: output_count, seen: logged_at, id: record_md5}) as output_audio_tokens,
    arg_max(parts.output_image_tokens, {output: output_count, seen: logged_at, id: record_md5}) as output_image_tokens,
    arg_max_null(stated_total_tokens, {output: output_count, seen: logged_at, id: record_md5}) as stated_total_tokens,
    arg_max(web_search_count, {output: output_count, seen: logged_at, id: record_md5}) as web_search_count,
    arg_max(unsplit_writes > 0 and shape = 'anthropic', {output: output_count, seen: logged_at, id: record_md5})
        as cache_split_assumed
from keyed
group by call_key
