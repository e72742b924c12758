{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    Every cent of the bill by the team that pays for it under allocation.csv. A bill names keys. If lines name users or
    projects, these get the cost of their logged usage at the rate card, and the key's team gets the rest; if the logs cost
    more than was billed, the bill is split in proportion to them. On days without a cost export, usage at the rate card
    replaces the bill (basis `estimated`).
#}
{%- set piece = 'usage_date, basis, provider, api_key, workspace' -%}

with charges as (
    select * from {{ ref('charges') }}
    where billing_mode = 'metered' and {{ in_scope('usage_date') }}
),

billed_costs as (
    select * from {{ ref('billed_costs') }}
    where {{ in_scope('usage_date') }}
),

billed_days as (
    {{ billed_days() }}
),

amounts as (
    select usage_date, 'billed' as basis, provider, api_key, workspace, sum(cost_usd)::decimal(38, 12) as amount_usd
    from billed_costs
    group by all
    union all
    select usage_date, 'estimated', provider, api_key, workspace, sum(cost_usd)::decimal(38, 12)
    from charges
    anti join billed_days using (provider, usage_date)
    where charges.is_in_force and charges.cost_usd is not null
    group by all
),

-- A log without a workspace belongs to the workspace of its key, if there is only one.
key_workspaces as (
    select usage_date, basis, provider, api_key, min(workspace) as workspace
    from amounts
    group by all
    having count(*) = 1
),

logged as (
    select
        amounts.usage_date,
        amounts.basis,
        amounts.provider,
        amounts.api_key,
        amounts.workspace,
        charges.user_id,
        charges.project,
        sum(charges.cost_usd)::decimal(38, 12) as logged_usd
    from amounts
    inner join charges using (usage_date, provider, api_key)
    left join key_workspaces
        on
            amounts.usage_date = key_workspaces.usage_date
            and amounts.basis = key_workspaces.basis
            and amounts.provider = key_workspaces.provider
            and amounts.api_key = key_workspaces.api_key
            and amounts.workspace = key_workspaces.workspace
    where
        charges.source = 'sessions'
        and charges.cost_usd > 0
        and amounts.amount_usd > 0
        and (charges.workspace = amounts.workspace or (charges.workspace = '' and key_workspaces.workspace is not null))
    group by all
),

logged_of_key as (
    select {{ piece }}, sum(logged_usd)::decimal(38, 12) as logged_usd
    from logged
    group by all
),

rests as (
    select
        amounts.*,
        '' as user_id,
        '' as project,
        if(amount_usd > 0, greatest(amount_usd - coalesce(logged_of_key.logged_usd, 0), 0), amount_usd)::decimal(38, 12) as part_usd
    from amounts
    left join logged_of_key using ({{ piece }})
),

parts as (
    select {{ piece }}, amount_usd, user_id, project, sum(part_usd)::decimal(38, 12) as part_usd
    from (
        select * from rests
        union all
        select amounts.*, logged.user_id, logged.project, logged.logged_usd as part_usd
        from amounts
        inner join logged using ({{ piece }})
    )
    group by all
),

weighted_parts as (
    select
        *,
        sum(part_usd) over (partition by {{ piece }}) as parts_usd,
        {{ weights('part_usd', piece) }} as weight
    from parts
),

pieces as (
    select
        {{ piece }},
        user_id,
        project,
        case
            when parts_usd = amount_usd then part_usd
            else {{ part_of('amount_usd', 'weight', piece, 'user_id, project') }}
        end as cost_usd
    from weighted_parts
),

allocated as (
    {{ allocation_of('pieces') }}
)

select
    pieces.usage_date,
    pieces.basis,
    pieces.provider,
    pieces.api_key,
    pieces.workspace,
    pieces.user_id,
    pieces.project,
    allocated.line,
    case when allocated.line is null then 'unallocated' when allocated.team = 'shared' then 'shared' else 'direct' end as share,
    if(share = 'direct', allocated.team, '') as team,
    if(share = 'direct', allocated.cost_centre, '') as cost_centre,
    if(share = 'direct', allocated.product, '') as product,
    if(share = 'direct', allocated.environment, '') as environment,
    pieces.cost_usd
from pieces
left join allocated using (usage_date, api_key, workspace, user_id, project)
where pieces.cost_usd <> 0
