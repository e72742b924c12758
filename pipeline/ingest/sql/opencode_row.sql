-- The used fields of a message; OpenCode version 2 writes messages without `info`, and compactions as messages.
json_object(
    'info', if(
        json_type(record, '$$.info') = 'OBJECT',
        json_object(
            'id', json_extract(record, '$$.info.id'),
            'sessionID', json_extract(record, '$$.info.sessionID'),
            'role', json_extract(record, '$$.info.role'),
            'modelID', json_extract(record, '$$.info.modelID'),
            'providerID', json_extract(record, '$$.info.providerID'),
            'created', json_extract(record, '$$.info.time.created'),
            'root', json_extract(record, '$$.info.path.root')
        ),
        json_object(
            'id', json_extract(record, '$$.id'),
            'role', if(name_at(record, '$$.type') in ('assistant', 'compaction'), 'assistant', null),
            'modelID', json_extract(record, '$$.model.id'),
            'providerID', json_extract(record, '$$.model.providerID'),
            'created', json_extract(record, '$$.time.created')
        )
    ),
    'tokens', coalesce(json_extract(record, '$$.info.tokens'), json_extract(record, '$$.tokens')),
    'steps', list_transform(
        list_filter(
            json_extract(record, '$$.parts[*]'),
            lambda part: coalesce(part ->> '$$.type' = 'step-finish' and json_type(part, '$$.tokens') = 'OBJECT', false)
        ), lambda part: json_extract(part, '$$.tokens')
    )
)
