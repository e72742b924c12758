-- The bill by day, key, model and kind of token, split exactly over the teams of the usage that it is for. has_usage: usage
-- of that day, key, model and kind has a team; otherwise the amount goes to the team that used the key most that day.
with named as (
    select
        provider,
        bool_or(workspace <> '') as names_workspaces,
        bool_or(api_key <> '') as names_keys
    from marts.billed_costs
    group by all
),

used as (
    select
        charges.usage_date,
        charges.provider,
        if(named.names_workspaces, charges.workspace, '') as workspace,
        if(named.names_keys, charges.api_key, '') as api_key,
        charges.model,
        charges.token_kind,
        charges.team,
        coalesce(sum(charges.cost_usd), 0) as weight_usd
    from marts.charges as charges
    inner join named using (provider)
    where charges.is_in_force and charges.billing_mode = 'metered'
    group by all
),

teams_of_keys as (
    select usage_date, provider, workspace, api_key, arg_max(team, (weight_usd, team)) as team
    from (
        select usage_date, provider, workspace, api_key, team, sum(weight_usd) as weight_usd
        from used
        group by all
    ) as used_by_teams
    group by all
),

pieces as (
    select
        usage_date,
        provider,
        workspace,
        api_key,
        model,
        token_kind,
        sum(cost_usd) as cost_usd,
        sum(coalesce(list_price_usd, cost_usd)) as list_usd,
        bool_or(list_price_usd is not null) as states_list,
        sum(rounding_tolerance_usd) as tolerance_usd
    from marts.billed_costs
    group by all
),

matched as (
    select
        pieces.*,
        coalesce(used.team, teams_of_keys.team, '') as team,
        used.team is not null as has_usage,
        sum(used.weight_usd) over up_to_team / nullif(sum(used.weight_usd) over of_piece, 0) as share_up_to_team,
        row_number() over up_to_team = count(*) over of_piece as is_last
    from pieces
    left join used using (usage_date, provider, workspace, api_key, model, token_kind)
    left join teams_of_keys using (usage_date, provider, workspace, api_key)
    window
        of_piece as (
            partition by
                pieces.usage_date, pieces.provider, pieces.workspace, pieces.api_key, pieces.model, pieces.token_kind
        ),
        up_to_team as (
            partition by
                pieces.usage_date, pieces.provider, pieces.workspace, pieces.api_key, pieces.model, pieces.token_kind
            order by used.team
        )
),

-- amounts up to a team; a team's part is the difference, so the parts add up to the piece
up_to as (
    select
        *,
        if(is_last, cost_usd, cast(cost_usd * coalesce(share_up_to_team, 0) as decimal(38, 12))) as cost_up_to,
        if(is_last, list_usd, cast(list_usd * coalesce(share_up_to_team, 0) as decimal(38, 12))) as list_up_to
    from matched
)

select
    usage_date,
    provider,
    workspace,
    api_key,
    team,
    model,
    token_kind,
    has_usage,
    states_list,
    tolerance_usd,
    cast(cost_up_to - coalesce(lag(cost_up_to) over of_piece, 0) as decimal(38, 12)) as cost_usd,
    cast(list_up_to - coalesce(lag(list_up_to) over of_piece, 0) as decimal(38, 12)) as list_usd
from up_to
window
    of_piece as (
        partition by usage_date, provider, workspace, api_key, model, token_kind
        order by is_last, team
    )
