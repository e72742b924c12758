-- One observation a minute ($grain = 'minute': only rows whose bucket is one minute) or a UTC day ('day') with usage in
-- the segment. For each provider and day the console stands where it has rows of this grain, else
-- the sessions; no console knows users or projects, so segments by them come from the sessions alone.
select
    case $dimension
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
left join (
    select distinct
        provider,
        usage_date,
        true as console_stands
    from marts.token_usage_minutes
    where source = 'console'
        and ($grain = 'day' or bucket_seconds = 60)
        and $dimension not in ('user_id', 'project')
) as console_days using (provider, usage_date)
where ($grain = 'day' or bucket_seconds = 60)
    and (source = 'sessions' or $dimension not in ('user_id', 'project'))
    and (source = 'console' or console_stands is null)
    -- what a subscription covers costs nothing by the token
    and (not $is_cost or billing_mode is distinct from 'subscription')
group by key, observed_at
