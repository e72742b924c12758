union
    select
        response_id,
        requested_at,
        hash(
            model, input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h,
            input_tokens_cache_read, output_tokens
        ) as signature
    from intermediate.int_requests
