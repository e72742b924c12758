-- The counts of a message are those of its last step, or zero if it was interrupted. If its steps add up to more, each
-- step is a call; the first one keeps the message's id, which is the same in each snapshot.
stepped as (
    select
        *,
        json_extract(record, '$$.steps[*]') as steps,
        json_extract_string(
            record, ['$$.tokens.input', '$$.tokens.output', '$$.tokens.reasoning', '$$.tokens.cache.read', '$$.tokens.cache.write']
        ) as texts
    from prepared
),

counted_steps as (
    select
        *,
        list_transform(steps, lambda step: json_extract_string(
            step, ['$$.input', '$$.output', '$$.reasoning', '$$.cache.read', '$$.cache.write']
        )) as step_texts
    from stepped
),

compared as (
    select
        *,
        len(list_filter([1, 2, 3, 4, 5], lambda kind: coalesce(tokens_or_null(texts[kind]), 0) < coalesce(
            list_sum(list_transform(step_texts, lambda text: tokens_or_null(text[kind]))), 0
        ))) > 0
        -- a bad count rejects the record
        and len(list_filter(
            flatten([texts] || step_texts), lambda count: count is not null and tokens_problem(count) is not null
        )) = 0 as is_less
    from counted_steps
),

holding as (
    select
        line,
        kind,
        document,
        place,
        if(is_less, json_object('info', json_extract(record, '$$.info'), 'tokens', steps[1]), record) as record,
        if(
            is_less,
            list_transform(
                steps[2:], lambda step: json_object('info', json_extract(record, '$$.info'), 'tokens', step)
            ), []
        )::json[] as calls_within
    from compared
)
