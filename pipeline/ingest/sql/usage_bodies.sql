-- One row per line of a file with providers' original usage bodies. Only these fields are ever extracted. Input
-- excludes cached tokens at Anthropic and Bedrock; at OpenAI, compatible APIs and Gemini it includes them, so they are
-- subtracted. Gemini's thoughts are not part of its candidates but billed as output; OpenAI's reasoning is part of the
-- completion, unless the total shows otherwise.
with ${readable_lines},

classified as (
    select
        line,
        document,
        case
            when starts_with(trim(line), '//') then 'ignored'
            when not if(is_json, true, json_valid(document)) then 'malformed'
            when json_type(document) <> 'OBJECT' then 'malformed'
            when json_type(document, '${body}') = 'OBJECT' and json_array_length(json_keys(document, '${body}')) > 0
                then 'nested'
            when json_type(document, '$$.prompt') in ('UBIGINT', 'BIGINT') then 'flat'
            else 'ignored'
        end as kind
    from readable
),

opened as (
    select
        *,
        case kind when 'nested' then json_extract(document, '${body}') when 'flat' then document::json end as own_body,
        if(json_exists(own_body, '$$.input_tokens'), json_extract(own_body, '$$.iterations[*]'), []) as iterations,
        list_filter(iterations, lambda each: json_extract_string(each, '$$.type') = 'fallback_message') as fallbacks
    from classified
),

iterated as (
    select
        *,
        list_filter(iterations, lambda each: is_call_inside(
            coalesce(json_extract_string(each, '$$.type'), ''), len(fallbacks) > 0,
            coalesce(json_extract_string(each, '$$.output_tokens'), '0') <> '0'
        )) as calls_inside
    from opened
),

-- A line with a bad count is rejected with all of its calls.
checked as (
    select
        *,
        if(calls_inside = [], null, list_filter(
            flatten(list_transform([own_body] || calls_inside, lambda each: json_extract_string(each, [
                '$$.input_tokens', '$$.output_tokens', '$$.cache_creation_input_tokens', '$$.cache_read_input_tokens',
                '$$.cache_creation.ephemeral_5m_input_tokens', '$$.cache_creation.ephemeral_1h_input_tokens',
                '$$.server_tool_use.web_search_requests'
            ]))), lambda count: count is not null and tokens_problem(count) is not null
        )[1]) as odd_count
    from iterated
),

separate as (
    select
        kind,
        line,
        document,
        unnest([own_body] || if(odd_count is null, calls_inside, [])) as usage_body,
        unnest(range(if(odd_count is null, len(calls_inside), 0) + 1)) as place,
        own_body,
        name_at(fallbacks[-1], '$$.model') as served_by,
        odd_count
    from checked
),

extracted as (
    select
        kind,
        if(kind = 'ignored', '', md5(line)) as line_md5,
        -- without spaces between values, because a copy may have lost them
        if(kind in ('nested', 'flat'), md5(json(document)), '') as record_md5,
        if(place = 0, '', '#' || place) as part,
        odd_count,
        if(place = 0, served_by, name_at(usage_body, '$$.model')) as called_model,
        -- labels of the response and all calls within it, except fast mode, which is requested for one model only
        if(place = 0, null, names_at(own_body, ['$$.service_tier', '$$.inference_geo', '$$.speed'])) as around,
        if(kind in ('nested', 'flat'), names_at(document, [
            '$$.run_id', '$$.timestamp', '$$.session_id', '$$.model_version', '$$.model_id', '$$.model', '$$.provider',
            '$$.api_key', '$$.workspace', '$$.user_id', '$$.event_id', '$$.id', '$$.response_id', '$$.conversation_id',
            '$$.project', '$$.cost_usd'
        ]), null) as labels,
        if(kind in ('nested', 'flat'), json_extract_string(
            usage_body, [
                '$$.service_tier', '$$.serviceTier', '$$.inference_geo', '$$.speed',
                '$$.input_tokens', '$$.output_tokens', '$$.cache_creation_input_tokens', '$$.cache_read_input_tokens',
                '$$.cache_creation.ephemeral_5m_input_tokens', '$$.cache_creation.ephemeral_1h_input_tokens',
                '$$.server_tool_use.web_search_requests',
                '$$.input_tokens_details.cached_tokens', '$$.input_tokens_details.cache_write_tokens', '$$.input_cached_tokens',
                '$$.prompt_tokens', '$$.completion_tokens', '$$.total_tokens',
                '$$.prompt_tokens_details.cached_tokens', '$$.prompt_tokens_details.cache_write_tokens',
                '$$.completion_tokens_details.reasoning_tokens',
                '$$.cached_tokens', '$$.prompt_cache_hit_tokens',
                '$$.promptTokenCount', '$$.cachedContentTokenCount', '$$.candidatesTokenCount', '$$.thoughtsTokenCount',
                '$$.toolUsePromptTokenCount',
                '$$.prompt_token_count', '$$.cached_content_token_count', '$$.candidates_token_count', '$$.thoughts_token_count',
                '$$.tool_use_prompt_token_count',
                '$$.prompt', '$$.cached', '$$.candidates', '$$.thoughts',
                '$$.inputTokens', '$$.outputTokens', '$$.cacheReadInputTokens', '$$.cacheWriteInputTokens',
                '$$.cacheDetails', '$$.totalTokens', '$$.totalTokenCount', '$$.total_token_count',
                '$$.cache_write_input_tokens', '$$.cache_write_tokens', '$$.input_tokens_details.cache_creation_tokens',
                '$$.prompt_tokens_details.cache_creation_tokens',
                '$$.prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens',
                '$$.prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens', '$$.cached_input_tokens',
                '$$.input_token_details.cached_tokens', '$$.promptTokensDetails', '$$.prompt_tokens_details',
                '$$.cacheTokensDetails', '$$.cache_tokens_details', '$$.candidatesTokensDetails',
                '$$.candidates_tokens_details', '$$.input_tokens_details.audio_tokens',
                '$$.prompt_tokens_details.audio_tokens', '$$.input_token_details.audio_tokens',
                '$$.input_tokens_details.image_tokens', '$$.prompt_tokens_details.image_tokens',
                '$$.input_token_details.image_tokens', '$$.input_tokens_details.cached_tokens_details.audio_tokens',
                '$$.prompt_tokens_details.cached_tokens_details.audio_tokens',
                '$$.input_token_details.cached_tokens_details.audio_tokens',
                '$$.input_tokens_details.cached_tokens_details.image_tokens',
                '$$.prompt_tokens_details.cached_tokens_details.image_tokens',
                '$$.input_token_details.cached_tokens_details.image_tokens', '$$.output_tokens_details.audio_tokens',
                '$$.completion_tokens_details.audio_tokens', '$$.output_token_details.audio_tokens',
                '$$.output_tokens_details.image_tokens', '$$.completion_tokens_details.image_tokens',
                '$$.output_token_details.image_tokens',
                -- LangChain's names, with the tier before them where it is no standard one; and those of Vercel's AI SDK
                '$$.input_token_details.cache_read', '$$.input_token_details.priority_cache_read',
                '$$.input_token_details.flex_cache_read', '$$.input_token_details.cache_creation',
                '$$.input_token_details.ephemeral_5m_input_tokens', '$$.input_token_details.ephemeral_1h_input_tokens',
                '$$.input_token_details.audio', '$$.output_token_details.audio', '$$.input_token_details.priority',
                '$$.input_token_details.flex', '$$.cachedInputTokens'
            ]
        ), null) as fields,
        if(kind in ('nested', 'flat'), names_at(
            usage_body, ['$$.service_tier', '$$.serviceTier', '$$.inference_geo', '$$.speed']
        ), null) as tiers,
        if(kind = 'nested', (
            json_type(usage_body, '$$.input_tokens_details') = 'OBJECT'
            or json_type(usage_body, '$$.input_token_details') = 'OBJECT'
        ), false) as has_input_details
    from separate
),

-- Gemini's counts have three spellings; each OpenAI-compatible API has its own name for cached tokens.
named as (
    select
        kind,
        line_md5,
        record_md5 || part as record_md5,
        part,
        odd_count,
        has_input_details,
        coalesce(trim(labels[1]), '') as run_id,
        moment_or_null(labels[2]) as logged_at,
        'timestamp ' || time_problem(nullif(trim(labels[2]), '')) as time_problem,
        coalesce(nullif(trim(labels[3]), ''), trim(labels[1]), '') as session_id,
        coalesce(nullif(trim(labels[4]), ''), nullif(trim(labels[5]), ''), trim(labels[6]), '') as stated_model,
        coalesce(nullif(trim(called_model), ''), stated_model) as model_version,
        provider_name(coalesce(trim(labels[7]), '')) as stated_provider,
        coalesce(trim(labels[8]), '') as api_key,
        if(lower(trim(labels[9])) = 'default', 'Default', coalesce(trim(labels[9]), '')) as workspace,
        coalesce(trim(labels[10]), '') as user_id,
        nullif(coalesce(trim(labels[11]), trim(labels[12])), '') || part as event_id,
        coalesce(nullif(trim(labels[13]), '') || part, '') as response_id,
        coalesce(trim(labels[14]), '') as conversation_id,
        coalesce(trim(labels[15]), '') as project,
        -- the caller's cost for the response, including all calls within it
        if(part = '', usd_or_null(try_cast(labels[16] as decimal(38, 12))), null) as stated_cost_usd,
        if(labels[16] is not null, usd_problem(labels[16]), null) as cost_problem,
        usage_type_name(without_secret(coalesce(
            tiers[1], tiers[2], around[1], if(fields[85] is not null, 'priority', null), if(fields[86] is not null, 'flex', ''), ''
        ))) as usage_type,
        coalesce(nullif(coalesce(tiers[3], around[2]), 'not_available'), '') as inference_geo,
        coalesce(tiers[4], if(model_version = stated_model, around[3], null), '') as speed,
        {
            input_tokens: fields[5],
            output_tokens: fields[6],
            cache_creation_input_tokens: fields[7],
            cache_read_input_tokens: fields[8],
            ephemeral_5m_input_tokens: fields[9],
            ephemeral_1h_input_tokens: fields[10],
            web_search_requests: fields[11],
            input_cached: coalesce(
                fields[12], fields[14], fields[51], fields[52], fields[77], fields[78], fields[79]
            ),
            input_cache_write: coalesce(
                fields[13], fields[45], fields[46], fields[47], fields[80]
            ),
            input_write_5m: fields[81],
            input_write_1h: fields[82],
            prompt_tokens: fields[15],
            completion_tokens: fields[16],
            total_tokens: coalesce(fields[17], fields[42], fields[43], fields[44]),
            prompt_cached: coalesce(fields[18], fields[21], fields[22], fields[8]),
            prompt_cache_write: coalesce(
                fields[19], fields[7], fields[45], fields[46], fields[48]
            ),
            prompt_write_5m: coalesce(fields[9], fields[49]),
            prompt_write_1h: coalesce(fields[10], fields[50]),
            reasoning_tokens: fields[20],
            gemini_prompt: coalesce(fields[23], fields[28], fields[33]),
            gemini_cached: coalesce(fields[24], fields[29], fields[34]),
            gemini_candidates: coalesce(fields[25], fields[30], fields[35]),
            gemini_thoughts: coalesce(fields[26], fields[31], fields[36]),
            gemini_tool_use: coalesce(fields[27], fields[32]),
            bedrock_input: fields[37],
            bedrock_output: fields[38],
            bedrock_read: coalesce(fields[39], fields[87]),
            sdk_read: fields[87],
            bedrock_write: fields[40],
            bedrock_write_5m: writes_for(fields[41], '5m'),
            bedrock_write_1h: writes_for(fields[41], '1h'),
            input_audio: coalesce(coalesce(fields[59], fields[60], fields[61], fields[83]), tokens_of_modality(coalesce(fields[53], fields[54]), 'AUDIO'), '0'),
            input_image: coalesce(coalesce(fields[62], fields[63], fields[64]), tokens_of_modality(coalesce(fields[53], fields[54]), 'IMAGE'), '0'),
            cache_read_audio: coalesce(coalesce(fields[65], fields[66], fields[67]), tokens_of_modality(coalesce(fields[55], fields[56]), 'AUDIO'), '0'),
            cache_read_image: coalesce(coalesce(fields[68], fields[69], fields[70]), tokens_of_modality(coalesce(fields[55], fields[56]), 'IMAGE'), '0'),
            output_audio: coalesce(coalesce(fields[71], fields[72], fields[73], fields[84]), tokens_of_modality(coalesce(fields[57], fields[58]), 'AUDIO'), '0'),
            output_image: coalesce(coalesce(fields[74], fields[75], fields[76]), tokens_of_modality(coalesce(fields[57], fields[58]), 'IMAGE'), '0')
        } as stated
    from extracted
),

shaped as (
    select
        *,
        case
            when kind not in ('nested', 'flat') then null
            when stated.gemini_prompt is not null then 'gemini'
            when stated.prompt_tokens is not null then 'chat'
            when stated.bedrock_input is not null then 'bedrock'
            when stated.input_tokens is not null and (has_input_details or stated.input_cached is not null or stated.input_cache_write is not null) then 'responses'
            when stated.input_tokens is not null then 'anthropic'
            else 'unknown'
        end as shape,
        nullif(tokens_or_null(stated.total_tokens), 0) as total_as_stated
    from named
),

counted as (
    select
        *,
        case shape
            when 'gemini' then stated.gemini_prompt
            when 'chat' then stated.prompt_tokens
            when 'bedrock' then stated.bedrock_input
            else stated.input_tokens
        end as input_text,
        case shape
            when 'gemini' then coalesce(stated.gemini_candidates, '0')
            when 'chat' then coalesce(stated.completion_tokens, '0')
            when 'bedrock' then coalesce(stated.bedrock_output, '0')
            else coalesce(stated.output_tokens, '0')
        end as output_text,
        coalesce(case shape
            when 'gemini' then stated.gemini_cached
            when 'chat' then stated.prompt_cached
            when 'bedrock' then stated.bedrock_read
            when 'responses' then stated.input_cached
            when 'anthropic' then stated.cache_read_input_tokens
        end, '0') as read_text,
        coalesce(case shape
            when 'chat' then stated.prompt_cache_write
            when 'bedrock' then stated.bedrock_write
            when 'responses' then stated.input_cache_write
            when 'anthropic' then stated.cache_creation_input_tokens
        end, '0') as write_text,
        coalesce(case shape
            when 'anthropic' then stated.ephemeral_5m_input_tokens
            when 'bedrock' then stated.bedrock_write_5m
            when 'chat' then stated.prompt_write_5m
            when 'responses' then stated.input_write_5m
        end, '0') as write_5m_text,
        coalesce(case shape
            when 'anthropic' then stated.ephemeral_1h_input_tokens
            when 'bedrock' then stated.bedrock_write_1h
            when 'chat' then stated.prompt_write_1h
            when 'responses' then stated.input_write_1h
        end, '0') as write_1h_text,
        coalesce(case shape
            when 'gemini' then stated.gemini_thoughts
            when 'chat' then stated.reasoning_tokens
        end, '0') as reasoning_text,
        coalesce(if(shape = 'gemini', stated.gemini_tool_use, null), '0') as tool_use_text,
        coalesce(stated.web_search_requests, '0') as web_searches_text
    from shaped
),

typed as (
    select
        *,
        tokens_or_null(input_text) + tokens_or_null(tool_use_text) as input_stated,
        tokens_or_null(read_text) as read_tokens,
        tokens_or_null(write_1h_text) as write_1h_tokens,
        greatest(tokens_or_null(write_text) - tokens_or_null(write_5m_text) - tokens_or_null(write_1h_text), 0)
            as unsplit_writes,
        tokens_or_null(write_5m_text) as write_5m_stated,
        tokens_or_null(output_text) + case
            when shape = 'gemini' then tokens_or_null(reasoning_text)
            -- xAI: the total is the prompt, the completion and the reasoning
            when shape = 'chat' and tokens_or_null(stated.total_tokens)
                = tokens_or_null(input_text) + tokens_or_null(output_text) + tokens_or_null(reasoning_text)
                then tokens_or_null(reasoning_text)
            else 0
        end as output_count,
        tokens_or_null(web_searches_text) as web_search_count
    from counted
),

-- Each step computes what the next one reads several times: DuckDB repeats an alias of the same SELECT wherever it is
-- used.
cached as (
    select
        *,
        write_5m_stated + unsplit_writes as write_5m_tokens,
        read_tokens + write_5m_stated + unsplit_writes + write_1h_tokens as cached_tokens
    from typed
),

inclusion as (
    select
        *,
        (shape in ('gemini', 'chat', 'responses') or (shape = 'bedrock' and stated.sdk_read is not null))
        and not only_exclusive(input_stated, cached_tokens, output_count, total_as_stated) as is_inclusive
    from cached
),

netted as (
    select
        *,
        total_of_all(not is_inclusive, total_as_stated, input_stated, cached_tokens, output_count) as stated_total_tokens,
        input_stated - if(is_inclusive, cached_tokens, 0) as no_cache_tokens
    from inclusion
),

with_parts as (
    select
        *,
        part_tokens(
            is_inclusive, no_cache_tokens, read_tokens, output_count,
            tokens_or_null(stated.input_audio), tokens_or_null(stated.cache_read_audio), tokens_or_null(stated.output_audio),
            tokens_or_null(stated.input_image), tokens_or_null(stated.cache_read_image), tokens_or_null(stated.output_image)
        ) as parts
    from netted
)

select
    *,
    if(run_id = '', '', run_id || ':') || strftime(logged_at, '%Y-%m-%dT%H:%M:%S.%f') || ':' || record_md5 as request_key,
    coalesce(
        nullif(stated_provider, ''), case shape when 'anthropic' then 'anthropic' when 'gemini' then 'google' end, ''
    ) as provider,
    case
        when kind = 'malformed' then 'not a JSON object'
        when kind = 'ignored' then null
        when shape = 'unknown' then 'a usage body of no known provider'
        when cost_problem like 'is greater%' then 'cost_usd ' || cost_problem
        when odd_count is not null then 'iterations: a count ' || tokens_problem(odd_count)
        else coalesce(
            'input tokens ' || tokens_problem(input_text),
            'tool use tokens ' || tokens_problem(tool_use_text),
            'cached tokens ' || tokens_problem(read_text),
            'cache write tokens ' || tokens_problem(write_text),
            'ephemeral_5m_input_tokens ' || tokens_problem(write_5m_text),
            'ephemeral_1h_input_tokens ' || tokens_problem(write_1h_text),
            'output tokens ' || tokens_problem(output_text),
            'reasoning tokens ' || tokens_problem(reasoning_text),
            'web_search_requests ' || tokens_problem(web_searches_text),
            parts_problem(stated),
            parts_too_great(parts, no_cache_tokens, read_tokens, output_count),
            no_time_problem(
                logged_at, time_problem,
                no_cache_tokens + write_5m_tokens + write_1h_tokens + read_tokens + output_count
            )
        )
    end as reason
from with_parts
-- Calls within a rejected line are rejected too.
where part = '' or reason is null
