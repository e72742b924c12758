-- The repeat rule within one file: of the records of one call, the one with the greatest output counts, then the
-- latest; its time is that of the first. A call is identified by the provider's id if the record states it and the
-- format trusts it, else by the format's own key.
with keyed as (
    select
        *,
        {output: output_count, seen: logged_at, id: own_key} as quality,
        ${source_format} || ':' || ${named_by} as request_key
    from call_records
    where kind = 'usage' and reason is null
),

calls as (
    select
        ${file_sha256} as file_sha256,
        ${source_format} as source_format,
        ${logger} as logger,
        request_key,
        coalesce(nullif(max(response_id), ''), request_key) as response_id,
        max(response_id) <> '' as states_response_id,
        arg_min(session_id, {seen: logged_at, id: session_id}) as session_id,
        bool_and(is_sidechain) as is_sidechain,
        min(logged_at) as requested_at,
        ${counting_record},
        arg_min(project, {seen: logged_at, id: project}) as project,
        coalesce(arg_min(user_id, {seen: logged_at, id: user_id}) filter (where user_id <> ''), '') as user_id,
        coalesce(arg_min(api_key, {seen: logged_at, id: api_key}) filter (where api_key <> ''), '') as api_key,
        coalesce(arg_min(workspace, {seen: logged_at, id: workspace}) filter (where workspace <> ''), '') as workspace,
        coalesce(arg_min(usage_type, {seen: logged_at, id: usage_type}) filter (where usage_type <> ''), '') as usage_type,
        coalesce(arg_min(inference_geo, {seen: logged_at, id: inference_geo}) filter (where inference_geo <> ''), '')
            as inference_geo,
        coalesce(arg_min(speed, {seen: logged_at, id: speed}) filter (where speed <> ''), '') as speed,
        arg_max(unsplit_writes > 0, quality) as cache_split_assumed,
        arg_max(copy_key, quality) as copy_key,
        bool_and(is_copied) as is_copied,
        max(copied_from) as copied_from,
        max(held_in) as held_in,
        arg_max(span, quality) as span,
        arg_max(parent_span, quality) as parent_span,
        min(session_started_at) as session_started_at
    from keyed
    group by request_key
)

select
    * replace (
        -- Calls of one session that are equal in all fields that copies keep have separate copies.
        if(
            copy_key = '', '',
            copy_key || ':' || row_number() over (partition by session_id, copy_key order by request_key)
        ) as copy_key
    )
from calls
