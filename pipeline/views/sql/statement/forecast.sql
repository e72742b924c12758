-- Forecasts of the month and the next one: of the organisation, or of the keys that only this team uses.
with keys as (
    select api_key
    from marts.charges
    where is_in_force and billing_mode = 'metered' and usage_date >= $$month and usage_date < $$month + interval 1 month
    group by api_key
    having bool_and(team = $$team)
)

select
    month,
    if($$team is null, '', substr(segment, length('api_key=') + 1)) as api_key,
    point,
    budget_95
from analysis.cost_forecast
where
    point is not null and month >= $$month and month <= $$month + interval 1 month
    and if($$team is null, segment = 'all', segment in (select 'api_key=' || keys.api_key from keys))
order by month, point desc, segment
