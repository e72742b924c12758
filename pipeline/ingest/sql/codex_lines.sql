-- One row per line of a rollout, in the order of the file. Only these fields are ever extracted.
create or replace temp table codex_lines as
with ${readable_lines},

extracted as (
    select
        line,
        case when json_valid(document) then names_at(document, [
            '$$.type', '$$.payload.type', '$$.timestamp', '$$.payload.id', '$$.payload.cwd', '$$.payload.model',
            '$$.payload.model_provider',
            '$$.payload.forked_from_id', '$$.payload.parent_thread_id',
            '$$.payload.source.subagent.thread_spawn.parent_thread_id', '$$.payload.thread_settings.service_tier',
            '$$.payload.thread_id', '$$.payload.response_id', '$$.payload.timestamp'
        ]) end as fields,
        case when json_valid(document) then json_extract(document, [
            '$$.payload.info.last_token_usage', '$$.payload.info.total_token_usage',
            '$$.payload.usage', '$$.payload.thread_token_usage'
        ]) end as usages
    from readable
),

typed as (
    select
        *,
        fields[1] = 'event_msg' and fields[2] = 'token_count' as is_count,
        fields[1] = 'token_usage_record' as is_record
    from extracted
)

select
    -- the text only if the line may have to be located
    if(fields is null or is_count or is_record, line, '{}') as line,
    fields is null as is_malformed,
    coalesce(fields[1] = 'session_meta', false) as is_meta,
    coalesce(is_count, false) as is_count,
    coalesce(is_record, false) as is_record,
    fields[3] as logged_at,
    moment_or_null(fields[3]) as seen,
    if(is_meta, fields[4], null) as session_id,
    if(is_meta, coalesce(moment_or_null(fields[14]), seen), null) as began,
    if(is_meta, coalesce(fields[8], fields[9], fields[10]), null) as parent_id,
    if(is_meta or fields[1] = 'turn_context', fields[5], null) as cwd,
    if(fields[1] = 'turn_context', fields[6], null) as model,
    if(is_meta, fields[7], null) as model_provider,
    case
        when coalesce(fields[2], '') <> 'thread_settings_applied' then null
        when lower(fields[11]) in ('default', 'auto') then 'standard'
        when lower(fields[11]) = 'fast' then 'priority'
        -- the settings of a thread may reset a tier
        else coalesce(fields[11], '')
    end as service_tier,
    if(is_record, nullif(fields[12], ''), null) as thread_id,
    if(is_record, nullif(fields[13], ''), null) as response_id,
    codex_counts(usages[if(is_record, 3, 1)]) as stated_usage,
    codex_counts(usages[if(is_record, 4, 2)]) as total_usage
from typed
