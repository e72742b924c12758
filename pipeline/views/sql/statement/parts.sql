-- The lines of a month: of a team by cost centre, product and environment; of the organisation by team.
select
    team,
    if($$team is null, '', cost_centre) as cost_centre,
    if($$team is null, '', product) as product,
    if($$team is null, '', environment) as environment,
    cast(sum(total_usd + estimated_usd) as decimal(38, 12)) as cost_usd,
    cast(sum(budget_usd) as decimal(38, 12)) as budget_usd
from marts.chargeback
where month = $$month and ($$team is null or team = $$team)
group by all
order by cost_usd desc, team, cost_centre, product, environment
