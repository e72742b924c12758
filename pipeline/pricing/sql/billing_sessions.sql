-- Grain: priced session of a customer and segment, on the UTC day of its start.
-- Usage within a subscription is on no bill.
create or replace temp table billing_sessions as

with sessions as (
    select
        case ${dimension}
            when 'organisation' then 'organisation'
            when 'user_id' then nullif(trim(user_id), '')
            when 'api_key' then nullif(trim(api_key), '')
            when 'workspace' then nullif(trim(workspace), '')
            when 'session_id' then nullif(trim(session_id), '')
        end as customer,
        coalesce(session_started_at, last_updated_at)::date as usage_date,
        estimated_cost_usd::double as cost_usd
    from marts.token_usage_sessions
    where billing_mode = 'metered'
        and estimated_cost_usd is not null
        and ${segment}
)

select * from sessions
