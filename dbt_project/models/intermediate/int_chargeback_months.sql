{#
    The bill of each month by team, from the current data and allocation.csv, closed or not. Costs of the team `shared` are
    split exactly over the teams of the month by the setting shared_cost_rule; without any team they stay unallocated.
#}
{%- set target = 'team, cost_centre, product, environment' -%}

with by_day as (
    select * from {{ ref('int_chargeback') }}
),

lines as (
    select * from {{ source('raw', 'allocation') }}
),

rule as (
    select shared_cost_rule from {{ source('raw', 'settings') }}
),

by_month as (
    select
        date_trunc('month', usage_date)::date as month,
        basis,
        share,
        {{ target }},
        sum(cost_usd)::decimal(38, 12) as cost_usd
    from by_day
    group by all
),

teams as (
    select
        by_month.*,
        if(rule.shared_cost_rule = 'evenly', 1, {{ weights('greatest(cost_usd, 0)', 'month, basis') }}) as weight
    from by_month
    cross join rule
    where share = 'direct'
),

pool_weights as (
    select month, basis, sum(weight) as weight
    from teams
    group by all
    having sum(weight) > 0
),

pools as (
    select month, basis, cost_usd as pool_usd
    from by_month
    semi join pool_weights using (month, basis)
    where share = 'shared'
),

shared as (
    select
        teams.month,
        teams.basis,
        {{ target }},
        {{ part_of('pools.pool_usd', 'teams.weight', 'teams.month, teams.basis', target) }} as cost_usd
    from teams
    inner join pools using (month, basis)
),

booked as (
    select month, basis, 'direct' as share, {{ target }}, cost_usd from teams
    union all
    select month, basis, 'shared' as share, {{ target }}, cost_usd from shared
    union all
    select by_month.month, by_month.basis, 'unallocated' as share, {{ target }}, by_month.cost_usd
    from by_month
    left join pool_weights using (month, basis)
    where share = 'unallocated' or (share = 'shared' and pool_weights.month is null)
),

months as (
    select distinct month from by_month
),

-- Of lines with the same selecting cells, the one in force at the end of the month counts.
ranked_lines as (
    select
        months.month,
        lines.*,
        row_number() over (
            partition by months.month, lines.api_key, lines.workspace, lines.user_id, lines.project
            order by lines.valid_from desc, lines.line desc
        ) as precedence
    from months
    inner join lines on lines.valid_from < months.month + interval 1 month
    where lines.team <> 'shared'
),

budgets as (
    select month, {{ target }}, sum(budget_usd_per_month)::decimal(38, 12) as budget_usd
    from ranked_lines
    where precedence = 1 and budget_usd_per_month is not null
    group by all
),

costs as (
    select
        month,
        {{ target }},
        {% for share in ['direct', 'shared', 'unallocated'] -%}
        coalesce(sum(cost_usd) filter (where basis = 'billed' and share = '{{ share }}'), 0)::decimal(38, 12) as {{ share }}_usd,
        {% endfor -%}
        coalesce(sum(cost_usd) filter (where basis = 'estimated'), 0)::decimal(38, 12) as estimated_usd
    from booked
    group by all
)

select
    month,
    {{ target }},
    coalesce(direct_usd, 0)::decimal(38, 12) as direct_usd,
    coalesce(shared_usd, 0)::decimal(38, 12) as shared_usd,
    coalesce(unallocated_usd, 0)::decimal(38, 12) as unallocated_usd,
    coalesce(estimated_usd, 0)::decimal(38, 12) as estimated_usd,
    budget_usd,
    rule.shared_cost_rule as shared_rule
from costs
full join budgets using (month, {{ target }})
cross join rule
order by month, {{ target }}
