-- One row per day and provider that both the account and our logs cover: their cache-read shares, in percent.
with

daily as (
    select
        usage_date,
        provider,
        count(*) as mart_rows,
        sum(input_tokens_cache_read) filter (source = 'console') as console_reads,
        sum(total_tokens) filter (source = 'console') as console_tokens,
        sum(input_tokens_cache_read) filter (source = 'sessions') as logged_reads,
        sum(total_tokens) filter (source = 'sessions') as logged_tokens
    from marts.daily_usage
    group by all
),

compared as (
    select
        usage_date,
        provider,
        mart_rows as rows_checked,
        100.0 * console_reads / console_tokens as console_percentage,
        100.0 * logged_reads / logged_tokens as sessions_percentage
    from daily
    where console_tokens > 0 and logged_tokens > 0
)

select *, console_percentage - sessions_percentage as difference_points
from compared
order by all
