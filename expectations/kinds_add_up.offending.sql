-- Rows whose kinds do not add up, with the sum beside the total, and what tells them apart in their mart.
with

offending as (
    select
        'marts.token_usage_minutes' as mart,
        source,
        usage_date,
        provider,
        model,
        api_key,
        workspace,
        null as session_id,
        input_tokens_no_cache,
        input_tokens_cache_write_5m,
        input_tokens_cache_write_1h,
        input_tokens_cache_read,
        output_tokens,
        input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens as sum_of_kinds,
        total_tokens
    from marts.token_usage_minutes
    where
        total_tokens is distinct from (
            input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens
        )

    union all

    select
        'marts.token_usage_sessions' as mart,
        'sessions' as source,
        session_started_at::date as usage_date,
        provider,
        primary_model as model,
        api_key,
        workspace,
        session_id,
        input_tokens_no_cache,
        input_tokens_cache_write_5m,
        input_tokens_cache_write_1h,
        input_tokens_cache_read,
        output_tokens,
        input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens as sum_of_kinds,
        total_tokens
    from marts.token_usage_sessions
    where
        total_tokens is distinct from (
            input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens
        )
        or cache_creation_tokens is distinct from input_tokens_cache_write_5m + input_tokens_cache_write_1h

    union all

    select
        'marts.requests' as mart,
        'sessions' as source,
        requested_at::date as usage_date,
        provider,
        model,
        api_key,
        workspace,
        session_id,
        input_tokens_no_cache,
        input_tokens_cache_write_5m,
        input_tokens_cache_write_1h,
        input_tokens_cache_read,
        output_tokens,
        input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens as sum_of_kinds,
        total_tokens
    from marts.requests
    where
        total_tokens is distinct from (
            input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens
        )

    union all

    select
        'marts.daily_usage' as mart,
        source,
        usage_date,
        provider,
        model,
        api_key,
        workspace,
        null as session_id,
        input_tokens_no_cache,
        input_tokens_cache_write_5m,
        input_tokens_cache_write_1h,
        input_tokens_cache_read,
        output_tokens,
        input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens as sum_of_kinds,
        total_tokens
    from marts.daily_usage
    where
        total_tokens is distinct from (
            input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens
        )
)

select * from offending
order by all
