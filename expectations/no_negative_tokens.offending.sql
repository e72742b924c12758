-- Rows with a negative number, with their key in their mart.
select * from token_rows
where
    least(
        input_tokens_no_cache,
        input_tokens_cache_write_5m,
        input_tokens_cache_write_1h,
        input_tokens_cache_read,
        output_tokens,
        cache_creation_tokens,
        web_search_count,
        total_tokens
    ) < 0
order by all
