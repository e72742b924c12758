-- One row a mart and source: rows, and those with a negative number of tokens or of web searches.
with

checked as (
    select
        'marts.token_usage_minutes' as mart,
        source,
        least(
            input_tokens_no_cache,
            input_tokens_cache_write_5m,
            input_tokens_cache_write_1h,
            input_tokens_cache_read,
            output_tokens,
            web_search_count,
            total_tokens
        ) < 0 as is_negative
    from marts.token_usage_minutes

    union all

    select
        'marts.token_usage_sessions' as mart,
        'sessions' as source,
        least(
            input_tokens_no_cache,
            input_tokens_cache_write_5m,
            input_tokens_cache_write_1h,
            input_tokens_cache_read,
            output_tokens,
            web_search_count,
            cache_creation_tokens,
            total_tokens
        ) < 0 as is_negative
    from marts.token_usage_sessions

    union all

    select
        'marts.requests' as mart,
        'sessions' as source,
        least(
            input_tokens_no_cache,
            input_tokens_cache_write_5m,
            input_tokens_cache_write_1h,
            input_tokens_cache_read,
            output_tokens,
            web_search_count,
            total_tokens
        ) < 0 as is_negative
    from marts.requests

    union all

    select
        'marts.daily_usage' as mart,
        source,
        least(
            input_tokens_no_cache,
            input_tokens_cache_write_5m,
            input_tokens_cache_write_1h,
            input_tokens_cache_read,
            output_tokens,
            total_tokens
        ) < 0 as is_negative
    from marts.daily_usage
)

select mart, source, count(*) as rows_checked, count(*) filter (is_negative) as rows_negative
from checked
group by all
order by all
