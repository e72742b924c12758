-- Anthropic's usage.iterations (see is_call_inside in macros.sql). Some loggers add up all iterations in the record's
-- counts: if these equal the sums, the counts of the record's own iterations are used.
iterated as (
    select
        *,
        coalesce(list_filter([
            json_extract(record, '$$.metadata.usage_object.iterations[*]'),
            json_extract(record, '$$.metadata.additional_usage_values.iterations[*]'),
            json_extract(record, '$$.iterations[*]')
        ], lambda found: len(found) > 0)[1], []) as every
    from prepared
),

counted_inside as (
    select
        *,
        list_transform(every, lambda each: json_extract_string(each, [
            '$$.type', '$$.model', '$$.input_tokens', '$$.output_tokens', '$$.cache_read_input_tokens',
            '$$.cache_creation_input_tokens', '$$.cache_creation.ephemeral_5m_input_tokens',
            '$$.cache_creation.ephemeral_1h_input_tokens'
        ])) as texts,
        list_transform(
            if(len(every) > 0, json_extract_string(record, [
                '$$.prompt_tokens', '$$.input', '$$.completion_tokens', '$$.output', '$$.total_tokens', '$$.total',
                '$$.cache_read', '$$.metadata.usage_object.cache_read_input_tokens',
                '$$.metadata.additional_usage_values.cache_read_input_tokens', '$$.cache_write',
                '$$.metadata.usage_object.cache_creation_input_tokens',
                '$$.metadata.additional_usage_values.cache_creation_input_tokens'
            ]), null),
            lambda text: tokens_or_null(text)
        ) as counts
    from iterated
),

typed_inside as (
    select
        *,
        list_transform(texts, lambda text: {
            kind: coalesce(text[1], ''),
            model: if(starts_with(text[2], '{') or starts_with(text[2], '['), null, text[2]),
            input: coalesce(tokens_or_null(text[3]), 0),
            output: coalesce(tokens_or_null(text[4]), 0),
            cache_read: coalesce(tokens_or_null(text[5]), 0),
            cache_write: coalesce(tokens_or_null(text[6]), 0),
            for_5m: coalesce(tokens_or_null(text[7]), 0),
            for_1h: coalesce(tokens_or_null(text[8]), 0)
        }) as iterations,
        list_filter(
            flatten(list_transform(texts, lambda text: text[3:8])),
            lambda count: count is not null and tokens_problem(count) is not null
        )[1] as odd_count,
        list_contains(list_transform(texts, lambda text: text[1]), 'fallback_message') as is_fallback
    from counted_inside
),

chosen as (
    select
        *,
        list_filter(
            iterations,
            lambda each: each.kind = if(is_fallback, 'fallback_message', 'message') or (each.kind = '' and not is_fallback)
        ) as own,
        list_filter(iterations, lambda each: is_call_inside(each.kind, is_fallback, each.output > 0)) as further
    from typed_inside
),

summed_inside as (
    select
        *,
        list_transform([iterations, own], lambda several: {
            input: coalesce(list_sum(list_transform(several, lambda each: each.input)), 0)::bigint,
            output: coalesce(list_sum(list_transform(several, lambda each: each.output)), 0)::bigint,
            cache_read: coalesce(list_sum(list_transform(several, lambda each: each.cache_read)), 0)::bigint,
            cache_write: coalesce(
                list_sum(list_transform(several, lambda each: greatest(each.cache_write, each.for_5m + each.for_1h))), 0
            )::bigint,
            for_5m: coalesce(list_sum(list_transform(several, lambda each: each.for_5m)), 0)::bigint,
            for_1h: coalesce(list_sum(list_transform(several, lambda each: each.for_1h)), 0)::bigint
        }) as sums,
        coalesce(counts[1], counts[2]) as stated_input,
        coalesce(counts[3], counts[4]) as stated_output,
        coalesce(counts[5], counts[6]) as stated_total,
        coalesce(counts[7], counts[8], counts[9], 0) + coalesce(counts[10], counts[11], counts[12], 0) as stated_cached
    from chosen
),

added_up as (
    select
        * exclude (sums),
        sums[2] as own_sum,
        sums[2].cache_read + sums[2].cache_write as own_cached,
        -- the sum may leave out the cached tokens of other calls
        coalesce(
            len(further) > 0 and odd_count is null and stated_output = sums[1].output
            and list_contains(
                [
                    sums[1].input, sums[1].input + sums[1].cache_read + sums[1].cache_write,
                    sums[1].input + stated_cached
                ], stated_input
            ), false
        ) as is_sum
    from summed_inside
),

holding as (
    select
        line,
        kind,
        document,
        place,
        case
            when odd_count is not null then json_merge_patch(record, json_object('own', json_object('input', odd_count)))
            when is_sum then json_merge_patch(record, json_object('own', json_object(
                'input', own_sum.input + if(${is_inclusive}, own_cached, 0),
                'output', own_sum.output,
                'cache_read', own_sum.cache_read,
                'cache_write', own_sum.cache_write,
                'cache_write_5m', nullif(own_sum.for_5m, 0),
                'cache_write_1h', nullif(own_sum.for_1h, 0),
                'input_beside', 0,
                'output_beside', 0,
                -- as far from the stored sum as before
                'total', stated_total - stated_input - stated_output + own_sum.input + own_sum.output + own_cached
                - if(${is_inclusive}, 0, stated_cached)
            )), if(is_fallback, json_object('model', own[-1].model), '{}'))
            when is_fallback then json_merge_patch(record, json_object('model', own[-1].model))
            else record
        end as record,
        if(odd_count is not null, [], list_transform(further, lambda each: json_merge_patch(
            record,
            if(is_fallback, json_object('model', own[-1].model), '{}'),
            json_object('own', json_object(
                'input', each.input
                + if(${is_inclusive}, each.cache_read + greatest(each.cache_write, each.for_5m + each.for_1h), 0),
                'output', each.output,
                'cache_read', each.cache_read,
                'cache_write', each.cache_write,
                'cache_write_5m', each.for_5m,
                'cache_write_1h', each.for_1h,
                'total', 0, 'web_searches', 0, 'input_beside', 0, 'output_beside', 0,
                'input_audio', 0, 'input_image', 0, 'cache_read_audio', 0, 'cache_read_image', 0,
                'output_audio', 0, 'output_image', 0
            )),
            -- fast mode is requested for one model only
            if(
                coalesce(each.model, '') = '', '{}',
                json_merge_patch(
                    json_object('model', each.model), '{"metadata": {"usage_object": {"speed": null}, "additional_usage_values": {"speed": null}}}'
                )
            )
        ))) as calls_within
    from added_up
)
