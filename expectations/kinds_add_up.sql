-- One row per mart and source: rows, and rows in which the five kinds do not add up to the total (a null never does).
select
    mart,
    source,
    count(*) as rows_checked,
    count(*) filter (
        total_tokens is distinct from (
            input_tokens_no_cache
            + input_tokens_cache_write_5m
            + input_tokens_cache_write_1h
            + input_tokens_cache_read
            + output_tokens
        )
        or cache_creation_tokens is distinct from input_tokens_cache_write_5m + input_tokens_cache_write_1h
    ) as rows_off
from token_rows
group by all
order by all
