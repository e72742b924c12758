-- Cost of each day of the chosen segments, by provider: as billed, and at the rate card.
with bills as (
    ${bills}
),

chosen as (
    select listed.segment
    from (values ${segments}) as listed (segment)
),

costs as (
    select true as is_billed, usage_date, provider, workspace, api_key, team, model, sum(cost_usd) as cost_usd
    from bills
    where usage_date >= cast($$1 as date)
    group by all
    union all
    select false, usage_date, provider, workspace, api_key, team, model, sum(cost_usd)
    from marts.charges
    where is_in_force and billing_mode = 'metered' and usage_date >= cast($$1 as date)
    group by all
),

by_segment as (
    select
        is_billed,
        usage_date,
        provider,
        unnest([
            'all', 'workspace=' || workspace, 'api_key=' || api_key, 'model=' || model,
            'team=' || if(team = '', '(none)', team)
        ]) as segment,
        cost_usd
    from costs
)

select
    segment,
    is_billed,
    provider,
    usage_date,
    cast(sum(cost_usd) as decimal(38, 12)) as cost_usd
from by_segment
inner join chosen using (segment)
group by all
having sum(cost_usd) <> 0
order by all
