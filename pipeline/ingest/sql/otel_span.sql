-- A span's numeric and name attributes as one object; texts of prompts and answers are never extracted. A span of an
-- agent or workflow sums up the calls below it, which have their own spans.
json_merge_patch(
    coalesce(to_json(map_from_entries(list_transform(
        list_filter(
            json_extract(record, '$$.attributes[*]'),
            lambda a, i: regexp_full_match(
                a ->> '$$.key',
                'gen_ai[.](usage[.][A-Za-z0-9_.]+|openai[.]response[.]service_tier|response[.](id|model)|request[.]model|provider[.]name|system|conversation[.]id)'
                || '|session[.]id|user[.]id|enduser[.]id|llm[.]usage[.]total_tokens|openai[.]response[.]service_tier'
            )
            and list_position(json_extract_string(record, '$$.attributes[*].key'), a ->> '$$.key') = i
        ),
        lambda a: {
            k: a ->> '$$.key',
            -- An object as a count is an error, not a missing count.
            v: if(
                a ->> '$$.key' like '%usage.%',
                coalesce(a ->> '$$.value.stringValue', a ->> '$$.value.intValue', a ->> '$$.value.doubleValue'),
                coalesce(name_at(a, '$$.value.stringValue'), name_at(a, '$$.value.intValue'), name_at(a, '$$.value.doubleValue'))
            )
        }
    ))), '{}'::json),
    json_object(
        'function', attribute_of(record, 'code.function.name'),
        'adviser_model', adviser_of(attribute_of(record, 'model_request_parameters')),
        'trace_id', name_at(record, '$$.traceId'),
        'span_id', name_at(record, '$$.spanId'),
        'span_key', (name_at(record, '$$.traceId')) || ':' || (name_at(record, '$$.spanId')),
        'parent_key', (name_at(record, '$$.traceId')) || ':' || nullif(name_at(record, '$$.parentSpanId'), ''),
        'start', record ->> '$$.startTimeUnixNano',
        'end', record ->> '$$.endTimeUnixNano',
        'is_call', len(list_filter(
            json_extract(record, '$$.attributes[*]'),
            lambda a: a ->> '$$.key' = 'gen_ai.operation.name'
            and a ->> '$$.value.stringValue' in ('invoke_agent', 'invoke_workflow', 'create_agent', 'execute_tool')
        )) = 0
    )
)
