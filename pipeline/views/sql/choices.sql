-- The most expensive values of each dimension, and the days of the data.
with usage as (
    select provider, workspace, api_key, model, user_id, project, team, usage_date, cost_usd from marts.charges
),

long as (
    select 'provider' as dimension, provider as value, sum(cost_usd) as cost_usd from usage group by all
    union all
    select 'workspace', workspace, sum(cost_usd) from usage group by all
    union all
    select 'api_key', api_key, sum(cost_usd) from usage group by all
    union all
    select 'model', model, sum(cost_usd) from usage group by all
    union all
    select 'user_id', user_id, sum(cost_usd) from usage group by all
    union all
    select 'project', project, sum(cost_usd) from usage group by all
    union all
    select 'team', team, sum(cost_usd) from usage group by all
),

ranked as (
    select *, row_number() over (partition by dimension order by cost_usd desc nulls last, value) as place from long
)

select dimension, value, place, null::date as first_day, null::date as last_day
from ranked
where place <= ${most}
union all
select 'days', null, 0, min(usage_date), max(usage_date) from usage
order by dimension, place
