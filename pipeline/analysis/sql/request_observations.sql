-- One observation per request and chosen dimension.
select
    dimension,
    case dimension
        when 'all' then 'all'
        when 'model' then model
        when 'api_key' then api_key
        when 'workspace' then workspace
        when 'user_id' then user_id
        when 'project' then project
    end as key,
    session_id,
    user_id,
    requested_at as observed_at,
    estimated_cost_usd as cost_usd,
    total_tokens,
    1 as usage_rows,
    cast(estimated_cost_usd is null as integer) as unpriced_rows,
    false as from_console,
    true as from_sessions
from marts.requests
cross join (select unnest($dimensions) as dimension) as dimensions
-- usage within a subscription has no cost per token
where not $is_cost or billing_mode is distinct from 'subscription'
