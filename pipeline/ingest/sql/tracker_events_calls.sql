-- Events of the tracker; events with the same response or the same id are one call.
with keyed as (
    select
        *,
        {output: output_count, seen: logged_at, id: record_md5} as quality,
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
    ${counting_record},
    arg_min(project, {seen: logged_at, id: record_md5}) as project,
    arg_min(user_id, {seen: logged_at, id: record_md5}) as user_id,
    arg_min(api_key, {seen: logged_at, id: record_md5}) as api_key,
    arg_min(workspace, {seen: logged_at, id: record_md5}) as workspace,
    arg_max(usage_type, quality) as usage_type,
    arg_max(inference_geo, quality) as inference_geo,
    arg_max(speed, quality) as speed,
    arg_max(if(stated_cost_usd >= 0, stated_cost_usd, null), quality) as logged_cost_usd,
    arg_max(unsplit_writes > 0 and shape = 'anthropic', quality) as cache_split_assumed
from keyed
group by call_key
