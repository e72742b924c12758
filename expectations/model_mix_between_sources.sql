-- One row per day and provider that both the account and our logs cover: the total variation distance of their mixes of models,
-- half the sum of the absolute differences of the models' shares of tokens (0 = the same mix, 1 = no model in common).
with

daily as (
    select
        usage_date,
        provider,
        model,
        count(*) as mart_rows,
        coalesce(sum(total_tokens) filter (source = 'console'), 0) as console_tokens,
        coalesce(sum(total_tokens) filter (source = 'sessions'), 0) as logged_tokens
    from marts.daily_usage
    group by all
),

shares as (
    select
        *,
        sum(console_tokens) over day_of_provider as console_total,
        sum(logged_tokens) over day_of_provider as logged_total
    from daily
    window day_of_provider as (partition by usage_date, provider)
)

select
    usage_date,
    provider,
    sum(mart_rows)::bigint as rows_checked,
    count(*) filter (console_tokens > 0) as console_models,
    count(*) filter (logged_tokens > 0) as sessions_models,
    0.5 * sum(abs(console_tokens::double / console_total - logged_tokens::double / logged_total)) as mix_distance
from shares
where console_total > 0 and logged_total > 0
group by all
order by all
