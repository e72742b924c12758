-- One row per record of a JSON file. Only the places in the format's shape are ever extracted.
with ${readable_lines},

opened as (
    select
        line,
        document,
        case
            when starts_with(trim(line), '//') then 'ignored'
            when not if(is_json, true, json_valid(document)) then 'malformed'
            when json_type(document) <> 'OBJECT' then 'malformed'
            else 'record'
        end as kind
    from readable
),

listed as (
    select
        *,
        if(kind = 'record', coalesce(nullif(${records}, []), [null]), [null])::json[] as records
    from opened
),

separate as (
    select
        line,
        kind,
        document,
        unnest(records) as record,
        generate_subscripts(records, 1) as place
    from listed
),

prepared as (
    select
        line,
        kind,
        document,
        place,
        if(record is null, null, ${record}) as record
    from separate
),

${inside},

-- A record, and the calls within it.
divided as (
    select
        line,
        kind,
        document,
        place,
        unnest([record] || calls_within) as record,
        generate_subscripts([record] || calls_within, 1) - 1 as part,
        ${around} as around
    from holding
),

extracted as (
    select
        line,
        kind,
        place,
        part,
        record,
        if(record is null, null, json_extract_string(record, ${paths})) as fields,
        if(record is null, null, names_at(around, ${around_paths})) as around_fields
    from divided
),

named_texts as (
    select
        *,
        names_of(record, ${paths}, fields) as names
    from extracted
),

classified as (
    select
        * exclude (kind),
        case
            when kind <> 'record' then kind
            when coalesce(${is_call}, false) and (${is_stated}) then 'usage'
            else 'ignored'
        end as kind
    from named_texts
),

named as (
    select
        line,
        kind,
        place,
        part,
        if(part = 0, '', '#' || part) as part_name,
        if(kind = 'usage', ${key} || part_name, '') as own_key,
        ${columns}
    from classified
),

typed as (
    select
        kind,
        line,
        place,
        own_key,
        part,
        part_name,
        coalesce(response_id || part_name, '') as response_id,
        coalesce(session_id, '') as session_id,
        moment_or_null(logged_at) as logged_at,
        'timestamp ' || time_problem(logged_at) as time_problem,
        coalesce(is_sidechain, 'false') = 'true' as is_sidechain,
        provider_name(coalesce(provider, '')) as provider,
        coalesce(model, '') as model_version,
        coalesce(regexp_extract(rtrim(project, '/\'), '[^/\\]*$$'), '') as project,
        coalesce(user_id, '') as user_id,
        coalesce(api_key, '') as api_key,
        if(lower(workspace) = 'default', 'Default', coalesce(workspace, '')) as workspace,
        usage_type_name(without_secret(coalesce(usage_type, ''))) as usage_type,
        coalesce(span, '') as span,
        coalesce(parent_span, '') as parent_span,
        if(coalesce(inference_geo, '') = 'not_available', '', coalesce(inference_geo, '')) as inference_geo,
        coalesce(speed, '') as speed,
        moment_or_null(session_started_at) as session_started_at,
        coalesce(copy_key, '') as stated_copy_key,
        coalesce(is_copied, 'false') as stated_copy,
        coalesce(copied_from, '') as copied_from,
        coalesce(held_in, '') as held_in,
        {
            input: coalesce(input, '0'),
            input_beside: coalesce(input_beside, '0'),
            cache_read: coalesce(cache_read, '0'),
            cache_write: coalesce(cache_write, '0'),
            cache_write_5m: coalesce(cache_write_5m, '0'),
            cache_write_1h: coalesce(cache_write_1h, '0'),
            output: coalesce(output, '0'),
            output_beside: coalesce(output_beside, '0'),
            web_searches: coalesce(web_searches, '0'),
            input_audio: coalesce(input_audio, '0'),
            input_image: coalesce(input_image, '0'),
            cache_read_audio: coalesce(cache_read_audio, '0'),
            cache_read_image: coalesce(cache_read_image, '0'),
            output_audio: coalesce(output_audio, '0'),
            output_image: coalesce(output_image, '0')
        } as stated,
        nullif(tokens_or_null(total), 0) as total_as_stated
    from named
),

-- Each step computes what the next one reads several times: DuckDB repeats an alias of the same SELECT wherever it is
-- used.
counted as (
    select
        *,
        tokens_or_null(stated.cache_read) as read_tokens,
        tokens_or_null(stated.cache_write_1h) as write_1h_tokens,
        tokens_or_null(stated.cache_write_5m) as stated_5m_tokens,
        tokens_or_null(stated.cache_write) as stated_write_tokens,
        tokens_or_null(stated.input) + tokens_or_null(stated.input_beside) as input_count,
        tokens_or_null(stated.output) as output_inside,
        tokens_or_null(stated.output_beside) as output_beside,
        tokens_or_null(stated.web_searches) as web_search_count
    from typed
),

split as (
    select
        *,
        greatest(stated_write_tokens - stated_5m_tokens - write_1h_tokens, 0) as unsplit_writes
    from counted
),

cached as (
    select
        *,
        stated_5m_tokens + unsplit_writes as write_5m_tokens,
        read_tokens + stated_5m_tokens + unsplit_writes + write_1h_tokens as cached_tokens
    from split
),

summed as (
    select
        *,
        output_inside + if(
            ${total_tells_beside} and coalesce(
                total_as_stated = input_count + if(${is_inclusive}, 0, cached_tokens) + output_inside, false
            ) and output_beside is not null,
            0, output_beside
        ) as output_count
    from cached
),

inclusion as (
    select
        *,
        ${is_inclusive} and not only_exclusive(input_count, cached_tokens, output_count, total_as_stated) as is_inclusive
    from summed
),

netted as (
    select
        *,
        total_of_all(${is_inclusive} and not is_inclusive, total_as_stated, input_count, cached_tokens, output_count)
            as stated_total_tokens,
        input_count - if(is_inclusive, cached_tokens, 0) as no_cache_tokens
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
),

with_reasons as (
    select
        *,
        case kind
            when 'malformed' then 'not a JSON object'
            when 'usage' then coalesce(
                'input tokens ' || tokens_problem(stated.input),
                'further input tokens ' || tokens_problem(stated.input_beside),
                'cached tokens ' || tokens_problem(stated.cache_read),
                'cache write tokens ' || tokens_problem(stated.cache_write),
                '5-minute cache write tokens ' || tokens_problem(stated.cache_write_5m),
                '1-hour cache write tokens ' || tokens_problem(stated.cache_write_1h),
                'output tokens ' || tokens_problem(stated.output),
                'reasoning tokens ' || tokens_problem(stated.output_beside),
                'web searches ' || tokens_problem(stated.web_searches),
                parts_problem(stated),
                parts_too_great(parts, no_cache_tokens, read_tokens, output_count),
                no_time_problem(
                    logged_at, time_problem,
                    no_cache_tokens + write_5m_tokens + write_1h_tokens + read_tokens + output_count
                )
            )
        end as reason
    from with_parts
)

select
    * exclude (line, part_name, stated, time_problem, stated_copy_key, stated_copy),
    -- The fields that a copy of the record in another session keeps.
    if(
        ${tells_copies_by_age},
        md5(concat_ws(
            ':', epoch_us(logged_at), model_version, no_cache_tokens, write_5m_tokens, write_1h_tokens, read_tokens,
            output_count
        )),
        stated_copy_key
    ) as copy_key,
    -- Null if unknown: a session may have no time or its parent's, or give its copies new times.
    case
        when not ${tells_copies_by_age} then if(stated_copy = 'unknown', null, stated_copy = 'true')
        when logged_at < session_started_at then true
    end as is_copied,
    if(reason is null, '', md5(line)) as line_md5
from with_reasons
