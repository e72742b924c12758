-- Results of a provider's usage API, or rows of its CSV export: tokens by bucket and grouping.
with cells as (
    select
        ${cells},
        ${values} as cells
    from ${relation}
),

-- The dimensions that a file states: those of the request if known, else all that a row names.
stated_units as (
    select
        coalesce(${grouped_by}, list_filter([
            if(bool_or(api_key <> ''), 'api_key', null),
            if(bool_or(context_window <> ''), 'context_window', null),
            if(bool_or(inference_geo not in ('', 'not_available')), 'inference_geo', null),
            if(bool_or(model <> ''), 'model', null),
            if(bool_or(speed <> ''), 'speed', null),
            if(bool_or(service_tier <> '' or batch <> ''), 'usage_type', null),
            if(bool_or(user_id <> ''), 'user_id', null),
            if(bool_or(workspace <> ''), 'workspace', null)
        ], lambda unit: unit is not null)) as units
    from cells
),

typed as (
    select
        * replace (
            if(cache_write_5m = '', '0', cache_write_5m) as cache_write_5m,
            if(cache_write_1h = '', '0', cache_write_1h) as cache_write_1h,
            if(cache_read = '', '0', cache_read) as cache_read,
            if(output = '' and lacks_output, '0', output) as output,
            if(web_searches = '', '0', web_searches) as web_searches,
            if(input_audio = '', '0', input_audio) as input_audio,
            if(input_image = '', '0', input_image) as input_image,
            if(cached_audio = '', '0', cached_audio) as cached_audio,
            if(cached_image = '', '0', cached_image) as cached_image,
            if(output_audio = '', '0', output_audio) as output_audio,
            if(output_image = '', '0', output_image) as output_image
        ),
        moment_or_null(starts) as starts_at,
        moment_or_null(ends) as ends_at,
        epoch_us(ends_at) - epoch_us(starts_at) as width_us
    from cells
    cross join stated_units
),

counted as (
    select
        *,
        tokens_or_null(cache_read) as cache_read_tokens,
        tokens_or_null(cache_write_5m) + tokens_or_null(cache_write_1h) as cache_write_tokens,
        tokens_or_null(input) - if(${is_inclusive}, cache_read_tokens + cache_write_tokens, 0) as no_cache_tokens,
        tokens_or_null(output) as all_output_tokens,
        no_cache_tokens + cache_write_tokens + cache_read_tokens + all_output_tokens as all_tokens,
        -- audio and image tokens of input exclude cached ones; in older pages they include them
        least(tokens_or_null(input_audio), no_cache_tokens) as audio_tokens,
        least(tokens_or_null(input_image), no_cache_tokens - audio_tokens) as image_tokens,
        least(greatest(tokens_or_null(cached_audio), tokens_or_null(input_audio) - audio_tokens), cache_read_tokens)
            as cached_audio_tokens,
        least(
            greatest(tokens_or_null(cached_image), tokens_or_null(input_image) - image_tokens),
            cache_read_tokens - cached_audio_tokens
        ) as cached_image_tokens,
        least(tokens_or_null(output_audio), all_output_tokens) as audio_output_tokens,
        least(tokens_or_null(output_image), all_output_tokens - audio_output_tokens) as image_output_tokens
    from typed
),

checked as (
    select
        *,
        list_filter([
            {column_name: '', value: '', reason: misshapen}
        ] || with_problems([
            {column_name: '${name_input}', value: input},
            {column_name: '${name_cache_write_5m}', value: cache_write_5m},
            {column_name: '${name_cache_write_1h}', value: cache_write_1h},
            {column_name: '${name_cache_read}', value: cache_read},
            {column_name: '${name_output}', value: output},
            {column_name: '${name_web_searches}', value: web_searches},
            {column_name: '${name_input_audio}', value: input_audio},
            {column_name: '${name_input_image}', value: input_image},
            {column_name: '${name_cached_audio}', value: cached_audio},
            {column_name: '${name_cached_image}', value: cached_image},
            {column_name: '${name_output_audio}', value: output_audio},
            {column_name: '${name_output_image}', value: output_image}
        ]) || [
            {
                column_name: '${name_requests}', value: requests,
                reason: if(requests = '', null, tokens_problem(requests))
            },
            {
                column_name: '${name_cache_read}', value: cache_read,
                reason: if(${is_inclusive} and cache_read_tokens > tokens_or_null(input), 'is greater than ${name_input}', null)
            },
            {
                column_name: '${name_cache_write_5m}', value: cache_write_5m,
                reason: if(no_cache_tokens < 0, 'is greater than ${name_input} without ${name_cache_read}', null)
            },
            {
                column_name: '${name_starts}', value: starts,
                reason: if(starts_at is null, coalesce(time_problem(starts), 'is not a time') || ' (' || all_tokens || ' tokens)', null)
            },
            {
                column_name: '${name_ends}', value: ends,
                reason: if(
                    coalesce(width_us not in (60000000, 3600000000, 86400000000), true)
                    or epoch_us(starts_at) % width_us <> 0,
                    'does not end a UTC minute, hour or day that begins at ${name_starts} (' || all_tokens || ' tokens)',
                    null
                )
            }
        ], lambda found: found.reason is not null) [1] as found
    from counted
)

select
    ${file_sha256} as file_sha256,
    ${provider} as provider,
    ${channel} as channel,
    starts_at as usage_start,
    (width_us // 1000000)::integer as bucket_seconds,
    model as model_version,
    if(api_key = '' and list_contains(units, 'api_key'), '(workbench)', api_key) as api_key,
    if(lower(workspace) in ('', 'default') and list_contains(units, 'workspace'), 'Default', workspace) as workspace,
    user_id,
    case
        when lower(batch) = 'true' then 'batch'
        when lower(service_tier) in ('default', 'auto') or (service_tier = '' and lower(batch) = 'false') then 'standard'
        else lower(service_tier)
    end as usage_type,
    context_window_name(context_window) as context_window,
    if(inference_geo = 'not_available', '', inference_geo) as inference_geo,
    speed,
    list_contains(units, 'context_window') as states_context_window,
    list_contains(units, 'inference_geo') and list_contains(units, 'speed') as states_geo_speed,
    array_to_string(list_sort(units), ',') as stated,
    no_cache_tokens as input_tokens_no_cache,
    tokens_or_null(cache_write_5m) as input_tokens_cache_write_5m,
    tokens_or_null(cache_write_1h) as input_tokens_cache_write_1h,
    cache_read_tokens as input_tokens_cache_read,
    all_output_tokens as output_tokens,
    audio_tokens as input_audio_tokens,
    image_tokens as input_image_tokens,
    cached_audio_tokens as cache_read_audio_tokens,
    cached_image_tokens as cache_read_image_tokens,
    audio_output_tokens as output_audio_tokens,
    image_output_tokens as output_image_tokens,
    tokens_or_null(web_searches) as web_search_count,
    tokens_or_null(requests) as request_count,
    false as cache_split_assumed,
    case
        when found is not null
            then {
                reason: trim(found.column_name || ' ' || found.reason),
                column_name: found.column_name,
                value: without_secret(found.value)
            }
    end as problem,
    case when found is not null then cells end as cells
from checked
