-- Cost of each user in the logs, the most expensive first, and the share of all up to each.
with users as (
    select
        user_id,
        coalesce(sum(cost_usd) filter (where billing_mode = 'metered'), 0) as cost_usd,
        coalesce(sum(tokens) filter (where token_kind <> 'web_search'), 0) as tokens,
        sum(tokens) filter (where starts_with(token_kind, 'cache_read'))
        / nullif(sum(tokens) filter (where token_kind <> 'web_search' and not starts_with(token_kind, 'output')), 0) as cache_read_share,
        min(usage_date) as first_day,
        max(usage_date) as last_day
    from marts.charges
    where source = 'sessions' and ${filters}
    group by user_id
)

select
    user_id,
    cast(cost_usd as decimal(38, 12)) as cost_usd,
    cast(cost_usd / nullif(sum(cost_usd) over (), 0) as double) as share_of_cost,
    cast(sum(cost_usd) over (order by cost_usd desc, tokens desc, user_id rows between unbounded preceding and current row) / nullif(sum(cost_usd) over (), 0) as double)
        as upto_share,
    cast(tokens as bigint) as tokens,
    cast(cache_read_share as double) as cache_read_share,
    first_day,
    last_day
from users
order by cost_usd desc, tokens desc, user_id
