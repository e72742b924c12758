-- One row per source: its tokens in each mart that holds all of them.
with

tokens as (
    select 'minutes' as mart, source, count(*) as mart_rows, sum(total_tokens) as total_tokens
    from marts.token_usage_minutes
    group by all

    union all

    select 'daily', source, count(*), sum(total_tokens)
    from marts.daily_usage
    group by all

    union all

    select 'cache', source, count(*), sum(total_tokens)
    from marts.cache_efficiency_stats
    group by all

    union all

    select 'models', source, count(*), sum(total_tokens)
    from marts.model_usage_stats
    group by all
)

select
    source,
    sum(mart_rows)::bigint as rows_checked,
    coalesce(sum(total_tokens) filter (mart = 'minutes'), 0)::bigint as token_usage_minutes,
    coalesce(sum(total_tokens) filter (mart = 'daily'), 0)::bigint as daily_usage,
    coalesce(sum(total_tokens) filter (mart = 'cache'), 0)::bigint as cache_efficiency_stats,
    coalesce(sum(total_tokens) filter (mart = 'models'), 0)::bigint as model_usage_stats
from tokens
group by all
order by all
