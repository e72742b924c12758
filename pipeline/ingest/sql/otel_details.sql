-- The meaning of usage details with ambiguous names, from pydantic-ai and from logfire's google.genai spans: tokens
-- outside of input and output, cached tokens of a compaction (part of input), and an adviser's call, whose tokens no
-- other count includes. Details of unknown kinds may be outside of all other counts; the stated total then includes
-- them.
detailed as (
    select
        *,
        json_extract_string(record, [
            '$$."gen_ai.usage.input_tokens"', '$$."gen_ai.usage.output_tokens"', '$$."gen_ai.usage.details.thoughts_tokens"',
            '$$."gen_ai.usage.details.reasoning_tokens"', '$$."gen_ai.usage.details.tool_use_prompt_tokens"',
            '$$."gen_ai.usage.details.input_tool_tokens"', '$$."gen_ai.usage.details.audio_prompt_tokens"',
            '$$."gen_ai.usage.details.audio_tool_use_prompt_tokens"',
            '$$."gen_ai.usage.details.cache_read_input_tokens"',
            '$$."gen_ai.usage.details.compaction_cache_read_input_tokens"',
            '$$."gen_ai.usage.details.cache_creation_input_tokens"',
            '$$."gen_ai.usage.details.compaction_cache_creation_input_tokens"',
            '$$."gen_ai.usage.details.advisor_input_tokens"', '$$."gen_ai.usage.details.advisor_output_tokens"',
            '$$."gen_ai.usage.details.advisor_cache_read_input_tokens"',
            '$$."gen_ai.usage.details.advisor_cache_creation_input_tokens"'
        ]) as texts,
        coalesce(
            json_extract_string(record, '$$."gen_ai.usage.total_tokens"'), json_extract_string(record, '$$."llm.usage.total_tokens"')
        ) is not null as states_total,
        list_filter(coalesce(json_keys(record), []), lambda key: regexp_matches(key, '^gen_ai[.]usage[.]')) as counts
    from prepared
),

numbered as (
    select
        *,
        list_transform(texts, lambda text: coalesce(tokens_or_null(text), 0)) as n,
        coalesce(list_sum(list_transform(
            list_filter(counts, lambda key: regexp_matches(key, '[.](text|audio|image|video|document)_candidates_tokens$$')),
            lambda key: tokens_or_null(json_extract_string(record, '$$."' || key || '"'))
        )), 0) as candidates,
        coalesce(list_sum(list_transform(
            list_filter(counts, lambda key: regexp_matches(key, 'tokens') and not regexp_matches(
                key,
                '[.](input|prompt|output|completion|total)_tokens$$|audio|image|text|video|document|cach|reasoning|think|thought'
                || '|prediction|ephemeral|advisor|compaction|tool'
            )),
            lambda key: tokens_or_null(json_extract_string(record, '$$."' || key || '"'))
        )), 0) as others
    from detailed
),

beside as (
    select
        *,
        -- Gemini's candidates exclude its thoughts.
        case
            when n[3] > 0 and (n[3] > n[2] or candidates = n[2] or json_extract_string(record, '$$.function') like 'google.genai%')
                then n[3]
            when n[4] > n[2] then n[4]
            else 0
        end as thoughts_beside,
        if(n[6] = 0, n[5], 0) as tools_beside,
        list_filter(texts[13:16], lambda text: text is not null) <> [] as has_adviser
    from numbered
),

holding as (
    select
        line,
        kind,
        document,
        place,
        if(record is null, null, json_merge_patch(record, json_object('own', json_object(
            'output_beside', nullif(thoughts_beside, 0),
            'input_beside', nullif(tools_beside, 0),
            'cache_read', if(n[10] > 0, n[9] + n[10], null),
            'cache_write', if(n[12] > 0, n[11] + n[12], null),
            'input_audio', if(n[8] > 0, n[7] + n[8], null),
            'total', if(others > 0 and not states_total, n[1] + n[2] + thoughts_beside + tools_beside + others, null)
        )))) as record,
        if(has_adviser, [json_merge_patch(record, json_object(
            'span_key', json_extract_string(record, '$$.span_key') || '#1',
            'parent_key', json_extract_string(record, '$$.parent_key') || '#1',
            'adviser', json_object('model', coalesce(json_extract_string(record, '$$.adviser_model'), '')),
            'gen_ai.response.model', null, 'gen_ai.request.model', null,
            'own', json_object(
                'input', coalesce(
                    sum_of_counts(list_filter([texts[13], texts[15], texts[16]], lambda text: text is not null)), '0'
                ),
                'output', coalesce(texts[14], '0'),
                'cache_read', coalesce(texts[15], '0'),
                'cache_write', coalesce(texts[16], '0'),
                'cache_write_5m', 0, 'cache_write_1h', 0, 'web_searches', 0, 'total', 0, 'input_beside', 0, 'output_beside', 0,
                'input_audio', 0, 'input_image', 0, 'cache_read_audio', 0, 'cache_read_image', 0,
                'output_audio', 0, 'output_image', 0
            )
        ))], [])::json[] as calls_within
    from beside
)
