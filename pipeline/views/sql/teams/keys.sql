-- Usage in force by month, workspace and key, and the team that pays for it; the eight most expensive keys by name.
with usage as (
    select
        cast(date_trunc('month', usage_date) as date) as month,
        workspace,
        api_key,
        team,
        cost_usd
    from marts.charges
    where billing_mode = 'metered' and ${filters}
),

places as (
    select api_key, row_number() over (order by coalesce(sum(cost_usd), 0) desc, api_key) as place
    from usage
    group by api_key
)

select
    usage.month,
    usage.workspace,
    usage.api_key,
    if(any_value(places.place) <= 8, usage.api_key, '(all others)') as part,
    cast(coalesce(sum(usage.cost_usd), 0) as decimal(38, 12)) as cost_usd,
    string_agg(distinct nullif(usage.team, ''), ', ' order by nullif(usage.team, '')) as teams,
    cast(coalesce(sum(usage.cost_usd) filter (where usage.team = ''), 0) as decimal(38, 12)) as without_team_usd
from usage
inner join places on usage.api_key = places.api_key
group by usage.month, usage.workspace, usage.api_key
having coalesce(sum(usage.cost_usd), 0) <> 0
order by usage.month desc, cost_usd desc, usage.workspace, usage.api_key
