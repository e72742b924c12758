-- One row a line of several transcripts read at once; only these fields are ever extracted (law 8). They stay texts in one
-- list, which costs half of a column each: most are needed of the lines that stand only. A line that is no JSON is null.
create or replace temp table batch_lines as
with entries as (
    select
        file_index,
        json,
        json_extract_string(json, [
            '$$.type', '$$.message.usage.output_tokens', '$$.message.usage.input_tokens',
            '$$.message.usage.cache_creation_input_tokens', '$$.message.usage.cache_creation.ephemeral_5m_input_tokens',
            '$$.message.usage.cache_creation.ephemeral_1h_input_tokens', '$$.message.usage.cache_read_input_tokens',
            '$$.message.usage.server_tool_use.web_search_requests', '$$.message.id', '$$.requestId', '$$.sessionId', '$$.uuid',
            '$$.timestamp', '$$.isSidechain', '$$.cwd', '$$.message.model', '$$.message.usage.service_tier',
            '$$.message.usage.inference_geo', '$$.message.usage.speed'
        ]) as fields
    from read_ndjson_objects(${files}, ignore_errors = true)
)

select
    file_index,
    fields,
    case
        when coalesce(fields[1], '') <> 'assistant' then false
        when fields[2] is not null or fields[3] is not null then true
        else coalesce(json_type(json, '$$.message.usage') = 'OBJECT', false)
    end as is_usage
from entries
