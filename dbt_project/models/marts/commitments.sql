{# What lines of the overrides file commit to spend, against what the usage that they name costs at the rate card. #}
with commitments as (
    select * from {{ source('raw', 'commitments') }}
),

charges as (
    select * from {{ ref('charges') }}
    where billing_mode = 'metered'
),

console_days as (
    select distinct provider, usage_date
    from charges
    where source = 'console'
),

-- The provider's own account of a day where there is one, else our logs: each token once.
in_force as (
    select charges.*, date_trunc('month', charges.usage_date)::date as month
    from charges
    left join console_days using (provider, usage_date)
    where charges.source = 'console' or console_days.usage_date is null
),

reached as (
    select max(usage_date) as last_day from in_force
),

months as (
    select distinct month from in_force
),

spent as (
    select
        in_force.month,
        commitments.override_line,
        sum(in_force.cost_usd)::decimal(38, 12) as spent_usd
    from in_force
    inner join commitments
        on
            {% for column in ['provider', 'model', 'token_kind', 'context_window', 'usage_type', 'inference_geo', 'speed'] -%}
            (commitments.{{ column }} is null or commitments.{{ column }} = in_force.{{ column }}) and
            {% endfor -%}
            in_force.usage_date >= commitments.valid_from
            and (commitments.valid_to is null or in_force.usage_date < commitments.valid_to)
    group by all
)

select
    months.month,
    commitments.override_line,
    commitments.model,
    commitments.committed_usd_per_month as committed_usd,
    coalesce(spent.spent_usd, 0)::decimal(38, 12) as spent_usd,
    greatest(commitments.committed_usd_per_month - coalesce(spent.spent_usd, 0), 0)::decimal(38, 12) as shortfall_usd,
    greatest(commitments.committed_usd_per_month, coalesce(spent.spent_usd, 0))::decimal(38, 12) as due_usd,
    reached.last_day >= last_day(months.month) as is_complete
from months
cross join reached
inner join commitments
    on
        months.month >= commitments.valid_from
        and (commitments.valid_to is null or months.month < commitments.valid_to)
left join spent on months.month = spent.month and commitments.override_line = spent.override_line
where (select publish_contract_rates from {{ source('raw', 'settings') }})
order by months.month, commitments.override_line
