-- Metered usage in force by period, key, team, model, kind of token and tier, at the rates and list prices of its days.
-- Without bill_workspace and bill_api_key where the provider's bill names none; is_billed: the bill has an amount for it.
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

billed as (
    select distinct usage_date, provider, workspace, api_key, model, token_kind, true as is_billed
    from marts.billed_costs
),

used as (
    select
        charges.*,
        if(named.names_workspaces, charges.workspace, '') as bill_workspace,
        if(named.names_keys, charges.api_key, '') as bill_api_key
    from marts.charges as charges
    left join named using (provider)
    where charges.is_in_force and charges.billing_mode = 'metered'
)

select
    days.period,
    used.provider,
    used.workspace,
    used.api_key,
    used.bill_workspace,
    used.bill_api_key,
    used.team,
    used.model,
    used.token_kind,
    used.context_window,
    used.usage_type,
    used.inference_geo,
    used.speed,
    coalesce(billed.is_billed, false) as is_billed,
    cast(sum(used.tokens) as bigint) as tokens,
    cast(sum(used.cost_usd) as decimal(38, 12)) as cost_usd,
    cast(sum(coalesce(used.list_cost_usd, used.cost_usd)) as decimal(38, 12)) as list_usd,
    cast(count(*) filter (where used.cost_usd is null) as bigint) as unpriced_rows,
    bool_or(used.source = 'console') as from_console,
    bool_or(used.source = 'sessions') as from_sessions,
    min(used.usage_date) as first_day,
    max(used.usage_date) as last_day
from used
inner join days using (usage_date)
left join billed
    on
        used.usage_date = billed.usage_date
        and used.provider = billed.provider
        and used.bill_workspace = billed.workspace
        and used.bill_api_key = billed.api_key
        and used.model = billed.model
        and used.token_kind = billed.token_kind
group by all
order by all
