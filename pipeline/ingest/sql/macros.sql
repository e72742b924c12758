-- Shared macros of the readers, created in each connection that loads: temporary macros leave nothing in the warehouse.

-- A text that looks like a secret is stored as its fingerprint (pipeline/store/redaction.py); no secret is shorter than
-- nine characters.
create or replace temp macro without_secret(v) as
    if(length(v) > 8 and regexp_matches(v, ${secret}), 'key-' || left(sha256(v), 12), v);
-- Limits come from the settings (pipeline/limits.py): sums over ten million rows with the greatest counts fit in a
-- BIGINT.
create or replace temp macro count_or_null(v) as
    case when regexp_full_match(v, '[0-9]{1,15}([.]0+)?') then split_part(v, '.', 1)::bigint end;
create or replace temp macro tokens_or_null(v) as list_filter([count_or_null(v)], lambda c: c <= ${max_tokens})[1];
create or replace temp macro tokens_of(v, is_plain) as if(is_plain, try_cast(v as bigint), tokens_or_null(v));
create or replace temp macro tokens_problem(v) as
    case
        when v = '' then 'is empty, expected a whole number'
        when regexp_full_match(v, '-[0-9]+([.]0+)?') then 'is negative, expected a count'
        when regexp_full_match(v, '[0-9]{16,}([.]0+)?') or count_or_null(v) > ${max_tokens}
            then 'is greater than any count of tokens'
        when count_or_null(v) is null then 'is not a whole number'
    end;
-- Of a list of counts, each with its column: the same with what is wrong with each. (DuckDB expands a macro wherever it stands,
-- and plans a lambda once.)
create or replace temp macro with_problems(counts) as
    list_transform(counts, lambda c: {column_name: c.column_name, value: c.value, reason: tokens_problem(c.value)});
-- Texts at `paths` of a JSON value. Objects and lists count as missing, because they could contain text of a user.
create or replace temp macro names_of(record, paths, texts) as
    list_transform(texts, lambda t, i: case
        when starts_with(t, '{') or starts_with(t, '[')
            then if(json_type(record, paths[i]) in ('OBJECT', 'ARRAY'), null, t)
        else t
    end);
create or replace temp macro names_at(record, paths) as names_of(record, paths, json_extract_string(record, paths));
create or replace temp macro name_at(record, path) as
    if(json_type(record, path) in ('OBJECT', 'ARRAY'), null, json_extract_string(record, path));
-- The sum of counts as text, or the first value that is not a count; null without any.
create or replace temp macro sum_of_counts(vs) as
    coalesce(
        list_filter(vs, lambda v: tokens_problem(v) is not null) [1],
        list_sum(list_transform(vs, lambda v: tokens_or_null(v)))::bigint::varchar
    );
-- The text of one attribute of a span; and the model that pydantic-ai's parameters of a request name as an adviser.
create or replace temp macro attribute_of(record, name) as
    list_filter(json_extract(record, '$$.attributes[*]'), lambda a: a ->> '$$.key' = name)[1] ->> '$$.value.stringValue';
create or replace temp macro adviser_of(parameters) as
    if(json_valid(parameters), name_at(list_filter(
        json_extract(parameters, '$$.native_tools[*]') || json_extract(parameters, '$$.builtin_tools[*]'),
        lambda tool: tool ->> '$$.kind' = 'advisor'
    )[1], '$$.model'), null);
-- What an observation of Langfuse holds of usage, by name; text where the row was exported as text.
create or replace temp macro usage_details_json(record) as
    coalesce(
        if(json_type(record, '$$.usageDetails') = 'OBJECT', json_extract(record, '$$.usageDetails'), null),
        if(json_type(record, '$$.usage_details') = 'OBJECT', json_extract(record, '$$.usage_details'), null),
        if(json_valid(json_extract_string(record, '$$.usageDetails')), json_extract_string(record, '$$.usageDetails')::json, null),
        if(json_valid(json_extract_string(record, '$$.usage_details')), json_extract_string(record, '$$.usage_details')::json, null)
    );
create or replace temp macro usage_details(record) as
    list_transform(
        coalesce(json_keys(usage_details_json(record)), []),
        -- LangChain writes the tier before what is no standard one's: input_priority_cache_read.
        lambda k: {k: regexp_replace(lower(k), '^(input|output)_(priority|flex)_', '\1_'), v: json_extract_string(usage_details_json(record), '$$."' || replace(k, '"', '') || '"')}
    );
create or replace temp macro usage_detail(record, pattern) as
    list_filter(usage_details(record), lambda d: d.v is not null and regexp_full_match(d.k, pattern))[1].v;
-- The service tier; default and automatic mean standard.
create or replace temp macro usage_type_name(v) as
    if(lower(v) in ('default', 'auto', 'on_demand', 'on-demand', 'standard_only'), 'standard', lower(v));
-- Cache writes with lifetime `ttl`, from Bedrock's list.
create or replace temp macro writes_for(details, ttl) as
    list_sum(list_transform(
        list_filter(coalesce(try_cast(details as json[]), []), lambda d: json_extract_string(d, '$$.ttl') = ttl),
        lambda d: tokens_or_null(json_extract_string(d, '$$.inputTokens'))
    ))::bigint::varchar;
-- Tokens of one modality, from Gemini's lists.
create or replace temp macro tokens_of_modality(details, modality) as
    list_sum(list_transform(
        list_filter(
            coalesce(try_cast(details as json[]), []), lambda d: upper(json_extract_string(d, '$$.modality')) = modality
        ),
        lambda d: tokens_or_null(coalesce(json_extract_string(d, '$$.tokenCount'), json_extract_string(d, '$$.token_count')))
    ))::bigint::varchar;
-- Whether input must exclude cached tokens: it is less than the cached tokens, or the stated total is the sum of all
-- counts.
create or replace temp macro only_exclusive(input, cached, output, total) as
    coalesce(input < cached or (cached > 0 and total = input + cached + output), false);
-- A stated total, completed to the sum of all tokens: in formats where the total may be only input plus output,
-- excluded cached tokens are added.
create or replace temp macro total_of_all(may_leave_out_cached, total, input, cached, output) as
    total + if(may_leave_out_cached and total = input + output, cached, 0);
-- Audio and image tokens of each kind. Where input contains cached tokens, its audio contains cached audio; and what is more
-- than all input that was not cached was cached, whether or not it is stated.
create or replace temp macro part_tokens(
    is_inclusive, no_cache, cache_read, output,
    audio, cached_audio, output_audio, image, cached_image, output_image
) as {
    input_audio_tokens:
    if(is_inclusive, greatest(least(audio - cached_audio, no_cache), 0), audio),
    input_image_tokens:
    if(is_inclusive, greatest(least(image - cached_image, no_cache), 0), image),
    cache_read_audio_tokens:
    if(is_inclusive, greatest(cached_audio, audio - no_cache), cached_audio),
    cache_read_image_tokens:
    if(is_inclusive, greatest(cached_image, image - no_cache), cached_image),
    output_audio_tokens: output_audio,
    output_image_tokens: output_image
};
create or replace temp macro parts_problem(stated) as
    coalesce(
        'audio input tokens ' || tokens_problem(stated.input_audio),
        'image input tokens ' || tokens_problem(stated.input_image),
        'cached audio tokens ' || tokens_problem(stated.cache_read_audio),
        'cached image tokens ' || tokens_problem(stated.cache_read_image),
        'audio output tokens ' || tokens_problem(stated.output_audio),
        'image output tokens ' || tokens_problem(stated.output_image)
    );
create or replace temp macro parts_too_great(parts, no_cache, cache_read, output) as
    case
        when parts.input_audio_tokens + parts.input_image_tokens > no_cache
            then 'more audio and image tokens than input tokens'
        when parts.cache_read_audio_tokens + parts.cache_read_image_tokens > cache_read
            then 'more cached audio and image tokens than cached tokens'
        when parts.output_audio_tokens + parts.output_image_tokens > output
            then 'more audio and image tokens than output tokens'
    end;
-- Whether an entry of Anthropic's usage.iterations is a call of its own. The counts of a response include only its own
-- entries of type `message`, not other calls that the provider made within it. If another model served the response
-- (`fallback_message`), the counts are that model's, and each `message` is a declined attempt, which is billed if it has
-- output.
create or replace temp macro is_call_inside(kind, is_fallback, has_output) as
    kind not in ('', 'fallback_message') and (kind <> 'message' or (is_fallback and has_output));
-- Why a call without a time is rejected, with its tokens; null if it has a time.
create or replace temp macro no_time_problem(logged_at, time_problem, token_count) as
    if(logged_at is null, coalesce(time_problem, 'no timestamp') || ' (' || token_count || ' tokens)', null);
-- Counts of a Codex rollout: input, cached, output, reasoning, total, cache writes; null if not stated.
create or replace temp macro codex_counts(usage) as
    nullif(
        json_extract_string(
            usage,
            [
                '$$.input_tokens', '$$.cached_input_tokens', '$$.output_tokens', '$$.reasoning_output_tokens',
                '$$.total_tokens', '$$.cache_write_input_tokens'
            ]
        ),
        [null, null, null, null, null, null]
    );
-- DuckDB also casts 'epoch', 'infinity' and years BC; zero times of other systems (years 1 and 1970) are not times of
-- usage.
create or replace temp macro is_usage_time(t) as
    t between cast(${first_moment} as timestamp) and cast(${end_moment} as timestamp) - interval 1 microsecond;
create or replace temp macro utc_of(v) as
    case when regexp_matches(v, '^20[0-9]{2}-[0-9]{2}-[0-9]{2}([ T]|$$)') then try_cast(v as timestamptz)::timestamp end;
create or replace temp macro utc_or_null(v) as list_filter([utc_of(v)], lambda t: is_usage_time(t))[1];
-- A time from text, or from seconds, milliseconds, microseconds or nanoseconds since 1970.
create or replace temp macro moment_of(v) as
    case
        when regexp_full_match(v, '[0-9]{10}([.][0-9]+)?')
            then make_timestamp((try_cast(v as decimal(28, 6)) * 1000000)::bigint)
        when regexp_full_match(v, '[0-9]{13}([.]0+)?') then make_timestamp(split_part(v, '.', 1)::bigint * 1000)
        when regexp_full_match(v, '[0-9]{16}') then make_timestamp(v::bigint)
        when regexp_full_match(v, '[0-9]{19}') then make_timestamp(try_cast(v as bigint) // 1000)
        else utc_of(v)
    end;
create or replace temp macro moment_or_null(v) as list_filter([moment_of(v)], lambda t: is_usage_time(t))[1];
-- The problem of a time's text, or null.
create or replace temp macro time_problem(v) as
    case
        when v is null then null
        when moment_of(v) is null then 'is not a time'
        when not is_usage_time(moment_of(v)) then 'lies before ' || left(${first_moment}, 10) || ' or too far ahead of today'
    end;
create or replace temp macro usd_or_null(amount) as if(abs(amount) <= ${max_usd}, amount, null);
create or replace temp macro usd_problem(v) as
    if(
        coalesce(isfinite(try_cast(v as double)) and abs(try_cast(v as double)) > ${max_usd}, false),
        'is greater than any amount of a row', 'is not an amount'
    );
-- The provider's name in the price list, from the spellings of OpenTelemetry (gen_ai.provider.name and the older
-- gen_ai.system), LiteLLM (LlmProviders), agents and LangChain. Other names are unchanged; compatible APIs
-- (openai_like, custom_openai, openai-compatible) are not OpenAI.
create or replace temp macro provider_name(v) as
    case
        when v = '' or lower(v) in ('anthropic', 'openai', 'google') then lower(v)
        when regexp_full_match(lower(v), '(amazon|aws)?[-_. ]?bedrock([-_./ ].*)?|aws|amazon') then 'aws'
        when regexp_full_match(lower(v), '(az|azure|microsoft)([-_. ].*)?') then 'azure'
        when regexp_full_match(lower(v), '(google|gcp|vertex|vertexai|gemini|palm)([-_. ].*)?') then 'google'
        when regexp_full_match(lower(v), 'openai[-_.](codex|responses|chat|completion)|(aiohttp|text[-_]completion)[-_]openai|chatgpt|codex')
            then 'openai'
        when regexp_full_match(lower(v), 'anthropic[-_.](text|messages)|claude([-_]code)?') then 'anthropic'
        when regexp_full_match(lower(v), '(mistral[-_ ]?ai|codestral|text[-_]completion[-_]codestral)') then 'mistral'
        when regexp_full_match(lower(v), 'cohere[-_.]chat') then 'cohere'
        when regexp_full_match(lower(v), 'x[-_. ]?ai') then 'x-ai'
        when regexp_full_match(lower(v), '(moonshot|kimi)([-_. ]?ai|[-_].*)?') then 'moonshotai'
        when regexp_full_match(lower(v), 'minimax[-_].*') then 'minimax'
        when regexp_full_match(lower(v), 'z[-_.]ai([-_].*)?|zai[-_].*') then 'zai'
        when regexp_full_match(lower(v), 'zhipu|bigmodel') then 'zhipuai'
        when regexp_full_match(lower(v), 'deep[-_ ]seek') then 'deepseek'
        when regexp_full_match(lower(v), 'meta[-_.]llama|llama[-_]?api') then 'meta'
        when regexp_full_match(lower(v), 'voyage([-_. ]ai)?') then 'voyageai'
        when regexp_full_match(lower(v), 'together[-_. ]?ai') then 'together'
        when regexp_full_match(lower(v), 'fireworks[-_. ]?ai') then 'fireworks'
        when regexp_full_match(lower(v), '(github[-_ ]?)?copilot([-_].*)?') then 'github-copilot'
        when regexp_full_match(lower(v), 'perplexity[-_. ]?ai') then 'perplexity'
        when regexp_full_match(lower(v), '(ibm[-_. ])?watsonx([-_. ](ai|text))?') then 'watsonx'
        when regexp_full_match(lower(v), '(ai21|ollama)[-_]chat|hosted[-_]vllm|text[-_]completion[-_]inception')
            then regexp_extract(lower(v), 'ai21|ollama|vllm|inception')
        when regexp_full_match(lower(v), '(cloudflare|workers)[-_ ](workers[-_ ])?ai') then 'cloudflare'
        -- before lower-casing: some patterns of secrets depend on case
        else lower(without_secret(v))
    end;
create or replace temp macro context_window_name(v) as
    case
        when v in ('', 'not_available') then ''
        when v = '≤ 200k' then '0-200k'
        when regexp_matches(lower(v), '^(≤|<=)? *(0 *- *)?200k$$') then '0-200k'
        when regexp_matches(lower(v), '^(>|>=)? *200k( *- *1m)?$$') then '200k-1M'
        else v
    end;
