-- One row per month of the bill: the amount billed (booked, if the month is closed) and the sums of the finance tables. And one
-- row per source, model and month of usage: tokens, and cost if all of it has a price.
with

closed as (
    select distinct month
    from marts.chargeback
    where is_closed
),

billed as (
    select
        date_trunc('month', usage_date)::date as month,
        count(*) as cost_rows,
        sum(cost_usd) as cost_usd
    from marts.billed_costs
    group by all
),

booked as (
    select month, sum(cost_usd) as cost_usd
    from marts.booked_costs
    where side = 'billed'
    group by month
),

charged_back as (
    select month, sum(direct_usd + shared_usd + unallocated_usd) as cost_usd
    from marts.chargeback
    group by month
),

focus as (
    select billingperiodstart::date as month, sum(billedcost) as cost_usd
    from marts.focus_1_2
    group by all
),

minutes as (
    select
        source,
        model,
        date_trunc('month', usage_date)::date as month,
        count(*) as usage_rows,
        sum(total_tokens + web_search_count)::bigint as tokens,
        if(count(*) filter (where estimated_cost_usd is null) > 0, null, sum(estimated_cost_usd)) as cost_usd
    from marts.token_usage_minutes
    group by all
),

charges as (
    select
        source,
        model,
        date_trunc('month', usage_date)::date as month,
        sum(tokens)::bigint as tokens,
        if(count(*) filter (where cost_usd is null) > 0, null, sum(cost_usd)) as cost_usd
    from marts.charges
    group by all
)

select
    'bill' as what,
    month,
    coalesce(billed.cost_rows, 1)::bigint as rows_checked,
    if(closed.month is null, coalesce(billed.cost_usd, 0), coalesce(booked.cost_usd, 0))::decimal(38, 12) as booked_usd,
    coalesce(charged_back.cost_usd, 0)::decimal(38, 12) as charged_back_usd,
    coalesce(billed.cost_usd, 0)::decimal(38, 12) as billed_usd,
    coalesce(focus.cost_usd, 0)::decimal(38, 12) as focus_usd,
    0::bigint as tokens,
    0::bigint as charged_tokens
from billed
full join charged_back using (month)
full join focus using (month)
left join booked using (month)
left join closed using (month)

union all

select
    'usage',
    month,
    coalesce(minutes.usage_rows, 1)::bigint,
    coalesce(minutes.cost_usd, 0)::decimal(38, 12),
    coalesce(charges.cost_usd, 0)::decimal(38, 12),
    0,
    0,
    coalesce(minutes.tokens, 0),
    coalesce(charges.tokens, 0)
from minutes
full join charges using (source, model, month)
order by all
