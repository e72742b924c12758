-- Metered usage in force, and the part of it in logs of single requests.
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
from marts.token_usage_minutes as minutes
where minutes.is_in_force and minutes.billing_mode = 'metered'
