-- One row a mart and source: rows, and those whose five kinds do not add up to their total (a null adds up to nothing).
with

checked as (
    select
        'marts.token_usage_minutes' as mart,
        source,
        total_tokens is distinct from (
            input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens
        ) as is_off
    from marts.token_usage_minutes

    union all

    select
        'marts.token_usage_sessions' as mart,
        'sessions' as source,
        total_tokens is distinct from (
            input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens
        )
        or cache_creation_tokens is distinct from input_tokens_cache_write_5m + input_tokens_cache_write_1h as is_off
    from marts.token_usage_sessions

    union all

    select
        'marts.requests' as mart,
        'sessions' as source,
        total_tokens is distinct from (
            input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens
        ) as is_off
    from marts.requests

    union all

    select
        'marts.daily_usage' as mart,
        source,
        total_tokens is distinct from (
            input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens
        ) as is_off
    from marts.daily_usage
)

select mart, source, count(*) as rows_checked, count(*) filter (is_off) as rows_off
from checked
group by all
order by all
