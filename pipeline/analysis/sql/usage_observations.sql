-- One observation per segment of the chosen dimensions and minute ($grain = 'minute', one-minute buckets only) or UTC day
-- ('day') with usage. Days use the usage in force. Minutes also use our logs where the provider's account has only hours
-- or days. Consoles know no users and projects, so those segments use sessions only.
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
    cast(null as varchar) as session_id,
    cast(null as varchar) as user_id,
    case $grain when 'minute' then usage_minute else cast(usage_date as timestamp) end as observed_at,
    sum(estimated_cost_usd) as cost_usd,
    cast(sum(total_tokens) as bigint) as total_tokens,
    count(*) as usage_rows,
    count(*) - count(estimated_cost_usd) as unpriced_rows,
    bool_or(source = 'console') as from_console,
    bool_or(source = 'sessions') as from_sessions
from marts.token_usage_minutes
cross join (select unnest($dimensions) as dimension) as dimensions
left join (
    select distinct
        provider,
        usage_date,
        billing_mode,
        true as has_minutes
    from marts.token_usage_minutes
    where source = 'console' and bucket_seconds = 60
) as accounts using (provider, usage_date, billing_mode)
where ($grain = 'day' or bucket_seconds = 60)
    and case
        when dimension in ('user_id', 'project') then source = 'sessions'
        else is_in_force or ($grain = 'minute' and has_minutes is null)
    end
    -- usage within a subscription has no cost per token
    and (not $is_cost or billing_mode = 'metered')
group by dimension, key, observed_at
