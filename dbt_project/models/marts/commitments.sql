{# Committed spend of lines of the overrides file against the cost of their usage at the rate card. #}
with commitments as (
    select * from {{ source('raw', 'commitments') }}
),

days as (
    select *, date_trunc('month', usage_date)::date as month
    from {{ ref('int_commitment_days') }}
),

history as (
    select max(usage_date) as last_day from days
),

months as (
    select distinct month from days
),

spent as (
    select
        month,
        override_line,
        sum(spent_usd)::decimal(38, 12) as spent_usd
    from days
    group by month, override_line
)

select
    months.month,
    commitments.override_line,
    commitments.model,
    commitments.committed_usd_per_month as committed_usd,
    coalesce(spent.spent_usd, 0)::decimal(38, 12) as spent_usd,
    greatest(commitments.committed_usd_per_month - coalesce(spent.spent_usd, 0), 0)::decimal(38, 12) as shortfall_usd,
    greatest(commitments.committed_usd_per_month, coalesce(spent.spent_usd, 0))::decimal(38, 12) as due_usd,
    history.last_day >= last_day(months.month) as is_complete
from months
cross join history
inner join commitments
    on
        months.month >= commitments.valid_from
        and (commitments.valid_to is null or months.month < commitments.valid_to)
left join spent on months.month = spent.month and commitments.override_line = spent.override_line
where (select publish_contract_rates from {{ source('raw', 'settings') }})
order by months.month, commitments.override_line
