-- Prompts above 200,000 tokens by model: their cost, and what their higher rates add.
with days as (
    select
        usage_date,
        source,
        provider,
        model,
        bool_or(is_in_force) as is_in_force
    from marts.daily_usage
    group by all
),

usage as (
    select *
    from marts.context_window_usage
    inner join days using (usage_date, source, provider, model)
    where ${filters}
)

select
    model,
    cast(coalesce(sum(surcharge_usd), 0) as decimal(38, 12)) as surcharge_usd,
    cast(coalesce(sum(cost_usd) filter (where context_window = '200k-1M'), 0) as decimal(38, 12)) as long_usd,
    cast(coalesce(sum(total_tokens) filter (where context_window = '200k-1M'), 0) as bigint) as long_tokens,
    cast(coalesce(sum(cost_usd), 0) as decimal(38, 12)) as cost_usd,
    cast(sum(total_tokens) filter (where context_window = '200k-1M') / nullif(sum(total_tokens), 0) as double) as share_of_tokens
from usage
group by model
having coalesce(sum(total_tokens) filter (where context_window = '200k-1M'), 0) > 0 or coalesce(sum(surcharge_usd), 0) > 0
order by surcharge_usd desc, long_tokens desc, model
