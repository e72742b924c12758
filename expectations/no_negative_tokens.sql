-- One row per mart and source: rows, and rows with a negative number of tokens or of web searches.
select
    mart,
    source,
    count(*) as rows_checked,
    count(*) filter (
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
    ) as rows_negative
from token_rows
group by all
order by all
