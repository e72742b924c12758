{# A closed month stays as booked; later changes are in analysis.restatements. #}
with current_months as (
    select * from {{ ref('int_chargeback_months') }}
),

closed_months as (
    select * from {{ source('raw', 'closed_months') }}
),

booked as (
    select * from {{ source('raw', 'booked_chargeback') }}
),

both_kinds as (
    select
        month,
        team,
        cost_centre,
        product,
        environment,
        direct_usd,
        shared_usd,
        unallocated_usd,
        estimated_usd,
        budget_usd,
        shared_rule,
        false as is_closed
    from current_months
    where month not in (select month from closed_months)
    union all
    select
        month,
        team,
        cost_centre,
        product,
        environment,
        direct_usd,
        shared_usd,
        unallocated_usd,
        estimated_usd,
        budget_usd,
        shared_rule,
        true as is_closed
    from booked
)

select
    month,
    team,
    cost_centre,
    product,
    environment,
    direct_usd,
    shared_usd,
    unallocated_usd,
    (direct_usd + shared_usd + unallocated_usd)::decimal(38, 12) as total_usd,
    estimated_usd,
    budget_usd,
    shared_rule,
    is_closed
from both_kinds
order by month, team, cost_centre, product, environment
