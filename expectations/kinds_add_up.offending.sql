-- Rows in which the kinds do not add up: their key in their mart, the sum and the total.
with

summed as (
    select
        *,
        input_tokens_no_cache
        + input_tokens_cache_write_5m
        + input_tokens_cache_write_1h
        + input_tokens_cache_read
        + output_tokens as sum_of_kinds
    from token_rows
)

select * from summed
where
    total_tokens is distinct from sum_of_kinds
    or cache_creation_tokens is distinct from input_tokens_cache_write_5m + input_tokens_cache_write_1h
order by all
