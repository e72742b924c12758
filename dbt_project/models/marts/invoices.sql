{#
    Invoices and the bill, by period and currency. Only dollars are compared; other currencies are neither compared
    nor added. The bill of a period is known if cost exports cover each of its days.
#}
with invoices as (
    select
        period_start,
        period_end,
        currency,
        count(*) as invoices,
        sum(amount)::decimal(38, 12) as amount,
        sum(credits)::decimal(38, 12) as credits,
        sum(tax)::decimal(38, 12) as tax
    from {{ source('raw', 'invoices') }}
    group by all
),

billed_costs as (
    select usage_date, sum(cost_usd) as cost_usd, sum(rounding_tolerance_usd) as rounding_tolerance_usd
    from {{ ref('billed_costs') }}
    group by usage_date
),

covered as (
    {{ billed_days() }}
),

billed as (
    select
        invoices.period_start,
        invoices.period_end,
        sum(billed_costs.cost_usd)::decimal(38, 12) as billed_cost_usd,
        coalesce(sum(billed_costs.rounding_tolerance_usd), 0) as rounding_tolerance_usd,
        count(*) as covered_days
    from (select distinct period_start, period_end from invoices) as invoices
    inner join covered on covered.usage_date between invoices.period_start and invoices.period_end
    left join billed_costs on covered.usage_date = billed_costs.usage_date
    group by all
),

compared as (
    select
        invoices.*,
        coalesce(billed.covered_days, 0) as covered_days,
        invoices.period_end - invoices.period_start + 1 as period_days,
        if(currency = 'USD' and covered_days > 0, coalesce(billed.billed_cost_usd, 0), null)::decimal(38, 12) as billed_cost_usd,
        -- the invoice is also rounded to the cent
        if(currency = 'USD' and covered_days > 0, billed.rounding_tolerance_usd + 0.005, null)::decimal(38, 12)
            as rounding_tolerance_usd
    from invoices
    left join billed using (period_start, period_end)
)

select
    period_start,
    period_end,
    currency,
    invoices,
    amount,
    credits,
    tax,
    (amount - credits + tax)::decimal(38, 12) as due,
    billed_cost_usd,
    rounding_tolerance_usd,
    (amount - billed_cost_usd)::decimal(38, 12) as gap_usd,
    covered_days,
    period_days,
    case
        when currency <> 'USD' then 'other_currency'
        when covered_days = 0 then 'no_bill'
        when covered_days < period_days then 'incomplete_bill'
        when amount = billed_cost_usd then 'matched'
        when abs(amount - billed_cost_usd) <= rounding_tolerance_usd then 'within_rounding'
        else 'differs'
    end as status
from compared
order by period_start, period_end, currency
