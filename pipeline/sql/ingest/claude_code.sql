-- One row a line of a Claude Code transcript that reports usage. Only these fields are ever extracted (law 8).
with ${readable_lines},

classified as (
    select
        line,
        document,
        case
            when starts_with(trim(line), '//') then 'ignored'
            when not if(is_json, true, json_valid(document)) then 'malformed'
            when
                contains(document, '"usage"')
                and json_extract_string(document, '$$.type') = 'assistant'
                and json_type(document, '$$.message.usage') = 'OBJECT'
                then 'usage'
            else 'ignored'
        end as kind
    from readable
),

extracted as (
    select
        kind,
        if(kind = 'ignored', '', md5(line)) as line_md5,
        if(kind = 'usage', json_extract_string(document, [
            '$$.message.id', '$$.requestId', '$$.sessionId', '$$.uuid', '$$.timestamp', '$$.isSidechain', '$$.cwd',
            '$$.message.model', '$$.message.usage.service_tier', '$$.message.usage.inference_geo',
            '$$.message.usage.speed', '$$.message.usage.input_tokens', '$$.message.usage.cache_creation_input_tokens',
            '$$.message.usage.cache_creation.ephemeral_5m_input_tokens',
            '$$.message.usage.cache_creation.ephemeral_1h_input_tokens',
            '$$.message.usage.cache_read_input_tokens', '$$.message.usage.output_tokens',
            '$$.message.usage.server_tool_use.web_search_requests'
        ]), null) as fields
    from classified
),

named as (
    select
        kind,
        line_md5,
        coalesce(fields[1], '') as message_id,
        coalesce(fields[2], '') as request_id,
        coalesce(fields[3], '') as session_id,
        coalesce(fields[4], '') as uuid,
        utc_or_null(fields[5]) as logged_at,
        coalesce(fields[6], 'false') = 'true' as is_sidechain,
        coalesce(regexp_extract(rtrim(fields[7], '/\'), '[^/\\]*$$'), '') as project,
        coalesce(fields[8], '') as model_version,
        coalesce(fields[9], '') as usage_type,
        if(coalesce(fields[10], '') = 'not_available', '', coalesce(fields[10], '')) as inference_geo,
        coalesce(fields[11], '') as speed,
        coalesce(fields[12], '0') as input_tokens,
        coalesce(fields[13], '0') as cache_creation,
        coalesce(fields[14], '0') as cache_creation_5m,
        coalesce(fields[15], '0') as cache_creation_1h,
        coalesce(fields[16], '0') as cache_read,
        coalesce(fields[17], '0') as output_tokens,
        coalesce(fields[18], '0') as web_searches
    from extracted
),

typed as (
    select
        *,
        tokens_or_null(input_tokens) as no_cache_tokens,
        tokens_or_null(cache_creation_5m) as write_5m_tokens,
        tokens_or_null(cache_creation_1h) as write_1h_tokens,
        greatest(
            tokens_or_null(cache_creation) - tokens_or_null(cache_creation_5m) - tokens_or_null(cache_creation_1h), 0
        ) as unsplit_writes,
        tokens_or_null(cache_read) as read_tokens,
        tokens_or_null(output_tokens) as output_count,
        tokens_or_null(web_searches) as web_search_count
    from named
)

select
    *,
    case
        when kind = 'malformed' then 'not valid JSON'
        when kind <> 'usage' then null
        when tokens_problem(input_tokens) is not null then 'input_tokens ' || tokens_problem(input_tokens)
        when tokens_problem(cache_creation) is not null
            then 'cache_creation_input_tokens ' || tokens_problem(cache_creation)
        when tokens_problem(cache_creation_5m) is not null
            then 'ephemeral_5m_input_tokens ' || tokens_problem(cache_creation_5m)
        when tokens_problem(cache_creation_1h) is not null
            then 'ephemeral_1h_input_tokens ' || tokens_problem(cache_creation_1h)
        when tokens_problem(cache_read) is not null then 'cache_read_input_tokens ' || tokens_problem(cache_read)
        when tokens_problem(output_tokens) is not null then 'output_tokens ' || tokens_problem(output_tokens)
        when tokens_problem(web_searches) is not null then 'web_search_requests ' || tokens_problem(web_searches)
        when logged_at is null
            then
                'no timestamp ('
                || (no_cache_tokens + write_5m_tokens + write_1h_tokens + unsplit_writes + read_tokens + output_count)
                || ' tokens)'
        when message_id = '' and uuid = '' then 'neither message.id nor uuid'
    end as reason
from typed
