{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{# Daily cost at the rate card of the usage of each commitment; days without such usage have one row without a line. #}
with commitments as (
    select * from {{ source('raw', 'commitments') }}
),

charges as (
    select * from {{ ref('charges') }}
    where is_in_force and billing_mode = 'metered' and {{ in_scope('usage_date') }}
)

select
    charges.usage_date,
    commitments.override_line,
    sum(charges.cost_usd)::decimal(38, 12) as spent_usd
from charges
left join commitments
    on
        charges.usage_date >= commitments.valid_from
        {% for column in ['provider', 'model', 'token_kind', 'context_window', 'usage_type', 'inference_geo', 'speed'] -%}
        and (commitments.{{ column }} is null or charges.{{ column }} = commitments.{{ column }})
        {% endfor -%}
        and (commitments.valid_to is null or charges.usage_date < commitments.valid_to)
group by all
