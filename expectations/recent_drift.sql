-- One row per source and provider: the last 7 days of the source's data against the 28 days before them.
-- The last day is that of the data, not today: a re-run on old data gives the same result.
with

daily as (
    select
        source,
        provider,
        model,
        usage_date,
        input_tokens_cache_read,
        total_tokens,
        max(usage_date) over (partition by source) as last_date
    from marts.daily_usage
),

windows as (
    select
        source,
        provider,
        model,
        last_date,
        count(*) as mart_rows,
        sum(input_tokens_cache_read) filter (usage_date > last_date - 7) as recent_reads,
        coalesce(sum(total_tokens) filter (usage_date > last_date - 7), 0) as recent_tokens,
        sum(input_tokens_cache_read) filter (usage_date <= last_date - 7) as former_reads,
        coalesce(sum(total_tokens) filter (usage_date <= last_date - 7), 0) as former_tokens
    from daily
    where usage_date > last_date - 35
    group by all
),

totals as (
    select
        *,
        sum(recent_tokens) over provider_of_source as recent_total,
        sum(former_tokens) over provider_of_source as former_total
    from windows
    window provider_of_source as (partition by source, provider)
)

select
    source,
    provider,
    last_date - 6 as recent_from,
    last_date as recent_to,
    sum(mart_rows)::bigint as rows_checked,
    100.0 * coalesce(sum(recent_reads), 0) / any_value(recent_total) as recent_percentage,
    100.0 * coalesce(sum(former_reads), 0) / any_value(former_total) as former_percentage,
    recent_percentage - former_percentage as difference_points,
    0.5 * sum(abs(recent_tokens::double / recent_total - former_tokens::double / former_total)) as mix_distance
from totals
where recent_total > 0 and former_total > 0
group by source, provider, last_date
order by all
