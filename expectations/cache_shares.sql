-- One row per source: rows, rows with a share out of range or different from the share of their tokens, and the extremes.
with

checked as (
    select
        source,
        cache_hit_percentage,
        cache_read_share_of_input,
        total_tokens > 0 and cache_hit_percentage is null
            or not coalesce(cache_hit_percentage between 0 and 100, true)
            or not coalesce(cache_read_share_of_input between 0 and 1, true) as is_out_of_range,
        total_tokens > 0
            and abs(cache_hit_percentage - 100.0 * total_cache_reads / total_tokens) > 1e-6 as is_off
    from marts.cache_efficiency_stats
)

select
    source,
    count(*) as rows_checked,
    count(*) filter (is_out_of_range) as rows_out_of_range,
    count(*) filter (is_off) as rows_off,
    min(cache_hit_percentage) as lowest_percentage,
    max(cache_hit_percentage) as highest_percentage
from checked
group by all
order by all
