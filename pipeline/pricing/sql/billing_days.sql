-- Grain: customer x UTC day, for a customer dimension (organisation, user_id, api_key or workspace).
-- Bills by user_id come from `sessions`; the others from the usage in force.
-- customer is null if the row names none. cost_usd is null if no row of the day has a price.
create or replace temp table billing_days as

with minutes as (
    select
        ---------- ids
        source,
        provider,
        nullif(trim(user_id), '') as user_id,
        nullif(trim(api_key), '') as api_key,
        nullif(trim(workspace), '') as workspace,

        model,

        ---------- dates
        usage_date,

        ---------- numerics
        total_tokens,
        estimated_cost_usd,

        is_in_force
    from marts.token_usage_minutes
    -- usage within a subscription is on no bill
    where billing_mode = 'metered'
),

in_force as (
    select
        minutes.*,
        case ${dimension}
            when 'organisation' then 'organisation'
            when 'user_id' then minutes.user_id
            when 'api_key' then minutes.api_key
            when 'workspace' then minutes.workspace
        end as customer
    from minutes
    where
        if(${dimension} = 'user_id', minutes.source = 'sessions', minutes.is_in_force)
        and ${segment}
),

customer_days as (
    select
        customer,
        usage_date,
        bool_or(source = 'console') as has_console,
        bool_or(source = 'sessions') as has_sessions,
        count(*) as usage_rows,
        sum(total_tokens)::bigint as total_tokens,
        coalesce(sum(total_tokens) filter (where estimated_cost_usd is null), 0)::bigint as unpriced_tokens,
        sum(estimated_cost_usd)::decimal(38, 12) as cost_usd
    from in_force
    group by customer, usage_date
)

select * from customer_days
