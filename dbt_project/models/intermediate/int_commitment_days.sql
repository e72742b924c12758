{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{# What the usage that each commitment names costs a day at the rate card; days without any have one row without a line. #}
with commitments as (
    select * from {{ source('raw', 'commitments') }}
),

charges as not materialized (
    select * from {{ ref('charges') }}
    where billing_mode = 'metered' and {{ in_scope('usage_date') }}
),

console_days as (
    select distinct provider, usage_date
    from charges
    where source = 'console'
),

-- The provider's own account of a day where there is one, else our logs: each token once.
in_force as (
    select charges.*
    from charges
    left join console_days using (provider, usage_date)
    where charges.source = 'console' or console_days.usage_date is null
)

select
    in_force.usage_date,
    commitments.override_line,
    sum(in_force.cost_usd)::decimal(38, 12) as spent_usd
from in_force
left join commitments
    on
        in_force.usage_date >= commitments.valid_from
        {% for column in ['provider', 'model', 'token_kind', 'context_window', 'usage_type', 'inference_geo', 'speed'] -%}
        and (commitments.{{ column }} is null or in_force.{{ column }} = commitments.{{ column }})
        {% endfor -%}
        and (commitments.valid_to is null or in_force.usage_date < commitments.valid_to)
group by all
