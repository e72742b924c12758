-- The used columns; `metadata` is JSON in a string if the row was exported as text.
json_object(
    'request_id', json_extract(record, '$$.request_id'),
    'session_id', json_extract(record, '$$.session_id'),
    'startTime', json_extract(record, '$$.startTime'),
    'endTime', json_extract(record, '$$.endTime'),
    'custom_llm_provider', json_extract(record, '$$.custom_llm_provider'),
    'model', json_extract(record, '$$.model'),
    'model_group', json_extract(record, '$$.model_group'),
    'user', json_extract(record, '$$.user'),
    'end_user', json_extract(record, '$$.end_user'),
    'api_key', json_extract(record, '$$.api_key'),
    'team_id', json_extract(record, '$$.team_id'),
    'prompt_tokens', json_extract(record, '$$.prompt_tokens'),
    'completion_tokens', json_extract(record, '$$.completion_tokens'),
    'total_tokens', json_extract(record, '$$.total_tokens'),
    'cache_hit', coalesce(json_extract_string(record, '$$.cache_hit'), ''),
    'metadata',
    case
        when json_type(record, '$$.metadata') = 'OBJECT' then json_extract(record, '$$.metadata')
        when json_valid(json_extract_string(record, '$$.metadata')) then json_extract_string(record, '$$.metadata')::json
    end
)
