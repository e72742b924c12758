-- Requests of metered usage in force by period, key, team and model; null where a record has no count.
with days as (
    ${days}
),

named as (
    select
        provider,
        bool_or(workspace <> '') as names_workspaces,
        bool_or(api_key <> '') as names_keys
    from marts.billed_costs
    group by all
),

billed_days as (
    select distinct usage_date, provider, true as is_billed
    from marts.billed_costs
),

teams as (
    select distinct usage_date, api_key, workspace, user_id, project, team
    from marts.charges
    where team <> ''
),

counted as (
    select
        usage_date,
        provider,
        workspace,
        api_key,
        user_id,
        project,
        model,
        if(bool_or(request_count is null), null, sum(request_count)) as requests
    from marts.token_usage_minutes
    where is_in_force and billing_mode = 'metered'
    group by all
)

select
    days.period,
    counted.provider,
    counted.workspace,
    counted.api_key,
    if(named.names_workspaces, counted.workspace, '') as bill_workspace,
    if(named.names_keys, counted.api_key, '') as bill_api_key,
    coalesce(teams.team, '') as team,
    counted.model,
    coalesce(billed_days.is_billed, false) as is_billed,
    if(bool_or(counted.requests is null), null, cast(sum(counted.requests) as bigint)) as requests
from counted
inner join days using (usage_date)
left join named using (provider)
left join billed_days using (usage_date, provider)
left join teams using (usage_date, api_key, workspace, user_id, project)
group by all
order by all
