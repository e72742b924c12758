with minutes as (
    -- Metered usage in force (the provider's account on days that it covers, else our logs), beside what single requests
    -- know.
    select * from marts.token_usage_minutes
    where billing_mode = 'metered'
),

console_days as (
    select distinct provider, usage_date
    from minutes
    where source = 'console'
)

select
    coalesce(sum(minutes.estimated_cost_usd), 0)::decimal(38, 12) as in_force_usd,
    (
        select coalesce(sum(estimated_cost_usd), 0)::decimal(38, 12) from marts.requests
        where billing_mode = 'metered'
    ) as requests_usd,
    coalesce(sum(minutes.total_tokens), 0)::bigint as in_force_tokens,
    (
        select coalesce(sum(total_tokens), 0)::bigint from marts.requests
        where billing_mode = 'metered'
    ) as requests_tokens
from minutes
left join console_days using (provider, usage_date)
where minutes.source = 'console' or console_days.usage_date is null
