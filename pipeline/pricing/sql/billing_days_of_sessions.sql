-- Grain: session, each a bill of its own on the UTC day of its start; the columns of billing_days.sql.
create or replace temp table billing_days as

with sessions as (
    select
        nullif(trim(session_id), '') as customer,
        coalesce(session_started_at, last_updated_at)::date as usage_date,
        total_tokens,
        estimated_cost_usd
    from marts.token_usage_sessions
    -- usage within a subscription is on no bill
    where billing_mode = 'metered' and ${segment}
),

customer_days as (
    select
        customer,
        usage_date,
        false as has_console,
        true as has_sessions,
        count(*) as usage_rows,
        sum(total_tokens)::bigint as total_tokens,
        coalesce(sum(total_tokens) filter (where estimated_cost_usd is null), 0)::bigint as unpriced_tokens,
        sum(estimated_cost_usd)::decimal(38, 12) as cost_usd
    from sessions
    group by customer, usage_date
)

select * from customer_days
