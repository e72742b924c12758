-- An observation with its usage details by meaning. Langfuse's SDK subtracts every detail of a provider from input or
-- output and stores it separately, as input_<name> and output_<name>: details other than cached tokens are additional
-- input or output.
json_object(
    'id', json_extract(record, '$$.id'),
    'type', json_extract(record, '$$.type'),
    'iterations', coalesce(
        json_extract(record, '$$.usageDetails.iterations'), json_extract(record, '$$.usage_details.iterations'),
        json_extract(record, '$$.usage.iterations'),
        json_extract(try_cast(json_extract_string(record, '$$.usageDetails') as json), '$$.iterations'),
        json_extract(try_cast(json_extract_string(record, '$$.usage_details') as json), '$$.iterations')
    ),
    'session_id', coalesce(
        name_at(record, '$$.sessionId'), name_at(record, '$$.session_id'),
        name_at(record, '$$.traceId'), name_at(record, '$$.trace_id')
    ),
    'logged_at', coalesce(name_at(record, '$$.startTime'), name_at(record, '$$.start_time')),
    'model', coalesce(
        name_at(record, '$$.model'), name_at(record, '$$.providedModelName'), name_at(record, '$$.provided_model_name')
    ),
    'usage_type', list_extract(list_filter(['priority', 'flex'], lambda tier: len(list_filter(
        coalesce(json_keys(usage_details_json(record)), []),
        lambda k: regexp_full_match(lower(k), '(input|output)_' || tier || '(_.*)?')
    )) > 0), 1),
    'user_id', coalesce(name_at(record, '$$.userId'), name_at(record, '$$.user_id')),
    'input', coalesce(
        usage_detail(record, 'input|input_tokens|prompt_tokens'),
        json_extract_string(record, '$$.usage.input'), json_extract_string(record, '$$.promptTokens')
    ),
    'output', coalesce(
        usage_detail(record, 'output|output_tokens|completion_tokens'),
        json_extract_string(record, '$$.usage.output'), json_extract_string(record, '$$.completionTokens')
    ),
    'total', coalesce(
        usage_detail(record, 'total|total_tokens'),
        json_extract_string(record, '$$.usage.total'), json_extract_string(record, '$$.totalTokens')
    ),
    'cache_read', usage_detail(record, '(input_)?(cache_read|cached)(_content|_text)?(_input)?(_tokens?)?(_count)?'),
    'cache_write', usage_detail(record, '(input_)?cache_(creation|write)(_input)?(_tokens)?'),
    'cache_write_5m', usage_detail(record, '(input_)?(cache_(creation|write)_)?(ephemeral_)?5m(_input)?(_tokens)?'),
    'cache_write_1h', usage_detail(record, '(input_)?(cache_(creation|write)_)?(ephemeral_)?1h(_input)?(_tokens)?'),
    'cache_read_audio', usage_detail(record, 'input_cache(d|_read)_audio(_tokens)?'),
    'cache_read_image', usage_detail(record, 'input_cache(d|_read)_image(_tokens)?'),
    'input_audio', usage_detail(record, 'input_audio(_tokens)?'),
    'input_image', usage_detail(record, 'input_image(_tokens)?'),
    'output_audio', usage_detail(record, 'output_audio(_tokens)?'),
    'output_image', usage_detail(record, 'output_image(_tokens)?'),
    'web_searches', usage_detail(record, '(server_tool_use_)?web_search(es|_requests)'),
    'input_beside', sum_of_counts(list_transform(list_filter(
        usage_details(record),
        lambda d: regexp_full_match(d.k, 'input_.+')
        and not regexp_full_match(
            d.k,
            'input_tokens|input_(cache_read|cached)(_content|_text|_audio|_image)?(_input)?(_tokens?)?(_count)?'
            || '|input_cache_(creation|write)(_input)?(_tokens)?|input_(cache_(creation|write)_)?(ephemeral_)?(5m|1h)(_input)?(_tokens)?'
        )
    ), lambda d: d.v)),
    'output_beside', sum_of_counts(list_transform(list_filter(
        usage_details(record), lambda d: regexp_full_match(d.k, 'output_.+') and d.k <> 'output_tokens'
    ), lambda d: d.v))
)
