-- Grain: customer x calendar month of temp.billing_days, with a status that says how the row can be used.
-- If the history covers at least least_months calendar months, an incomplete first or last month is no bill.
-- Sessions are bills of their own, and always complete.
-- bill_number numbers the priced bills from 0, by customer and month; null for other rows.
create or replace temp table billing_months as

with span as (
    select
        min(usage_date) as first_usage_date,
        max(usage_date) as last_usage_date,
        datediff('month', min(usage_date), max(usage_date)) + 1 as n_months
    from billing_days
),

customer_months as (
    select
        customer,
        date_trunc('month', usage_date)::date as month,
        bool_or(has_console) as has_console,
        bool_or(has_sessions) as has_sessions,
        sum(total_tokens)::bigint as total_tokens,
        sum(unpriced_tokens)::bigint as unpriced_tokens,
        sum(cost_usd)::decimal(38, 12) as bill_usd
    from billing_days
    group by customer, date_trunc('month', usage_date)::date
),

month_edges as (
    select
        customer_months.*,
        span.n_months,
        greatest(customer_months.month, span.first_usage_date) as first_day,
        least(last_day(customer_months.month), span.last_usage_date) as final_day
    from customer_months
    cross join span
),

flagged as (
    select
        *,
        datediff('day', first_day, final_day) + 1 as history_days,
        coalesce(
            not ${bills_are_sessions} and (first_day > month or final_day < last_day(month)),
            false
        ) as is_partial_month
    from month_edges
),

classified as (
    select
        *,
        case
            when customer is null then 'unattributed'
            when bill_usd is null then 'unpriced'
            when is_partial_month and n_months >= ${least_months} then 'partial_month'
            else 'ok'
        end as status
    from flagged
),

numbered as (
    select
        *,
        case
            when status = 'ok' then
                row_number() over (partition by status order by customer, month) - 1
        end as bill_number,
        case
            when status = 'ok' then
                dense_rank() over (partition by status order by customer) - 1
        end as customer_number
    from classified
)

select
    customer,
    month,
    first_day,
    history_days,
    case
        when has_console and has_sessions then 'console+sessions'
        when has_console then 'console'
        else 'sessions'
    end as source,
    is_partial_month,
    total_tokens,
    unpriced_tokens,
    bill_usd,
    status,
    bill_number,
    customer_number
from numbered
