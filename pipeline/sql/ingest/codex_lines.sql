-- One row a line of a rollout, in the file's order. Only these fields are ever extracted (law 8).
create or replace temp table codex_lines as
with lines as (
    select
        line,
        case when json_valid(line) then json_extract_string(line, [
            '$$.type', '$$.payload.type', '$$.timestamp', '$$.payload.id', '$$.payload.cwd', '$$.payload.model',
            '$$.payload.model_provider',
            '$$.payload.info.last_token_usage.input_tokens', '$$.payload.info.last_token_usage.cached_input_tokens',
            '$$.payload.info.last_token_usage.output_tokens',
            '$$.payload.info.total_token_usage.input_tokens', '$$.payload.info.total_token_usage.cached_input_tokens',
            '$$.payload.info.total_token_usage.output_tokens',
            '$$.payload.info.total_token_usage.reasoning_output_tokens', '$$.payload.info.total_token_usage.total_tokens'
        ]) end as fields
    from ${relation}
    where line is not null and trim(line) <> ''
)

select
    -- the text only where it may be needed to find the line again
    if(fields is null or fields[2] = 'token_count', line, '{}') as line,
    fields is null as is_malformed,
    fields[1] = 'event_msg' and fields[2] = 'token_count' as is_count,
    fields[3] as logged_at,
    if(fields[1] = 'session_meta', fields[4], null) as session_id,
    if(fields[1] in ('session_meta', 'turn_context'), fields[5], null) as cwd,
    if(fields[1] = 'turn_context', fields[6], null) as model,
    if(fields[1] = 'session_meta', fields[7], null) as model_provider,
    fields[8] as input_tokens,
    fields[9] as cached_input_tokens,
    fields[10] as output_tokens,
    concat_ws(',', fields[11], fields[12], fields[13], fields[14], fields[15]) as total_usage
from lines
