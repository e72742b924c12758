-- The key that pays for logs of a format without keys, and how it is known.
with key_days as (
    select * from {{ ref('int_key_days') }}
),

rules as (
    select count(*) > 0 as is_declared from {{ source('raw', 'reconciliation_scope') }}
),

days_without_key as (
    select distinct source_format, provider, usage_date
    from key_days
    where side = 'logged' and key_origin = ''
),

-- Keys of the account with cost on a day; without a bill, keys with usage.
account_keys as (
    select usage_date, provider, api_key, workspace, side
    from key_days
    where side in ('console', 'billed')
    group by usage_date, provider, api_key, workspace, side
    having (side = 'billed' and sum(cost_usd) <> 0) or (side = 'console' and sum(tokens) > 0)
),

candidates as (
    select distinct
        days.source_format,
        days.provider,
        account_keys.side,
        account_keys.api_key,
        account_keys.workspace
    from days_without_key as days
    inner join account_keys
        on days.usage_date = account_keys.usage_date and days.provider = account_keys.provider
),

by_side as (
    select
        source_format,
        provider,
        side,
        count(*) as key_count,
        min(api_key) as api_key,
        min(workspace) as workspace
    from candidates
    group by source_format, provider, side
),

-- The bill takes precedence over usage.
preferred as (
    select * from by_side
    where
        side = 'billed'
        or not exists (
            select 1 from by_side as bill
            where
                bill.side = 'billed'
                and bill.source_format = by_side.source_format
                and bill.provider = by_side.provider
        )
)

select
    logs.source_format,
    logs.provider,
    case
        when rules.is_declared then 'unassigned'
        when preferred.key_count = 1 then 'inferred'
        when preferred.key_count > 1 then 'collapsed'
        -- no key of the account has usage on the days of these logs: they belong to another account
        else 'unknown'
    end as scope,
    case when preferred.key_count = 1 and not rules.is_declared then preferred.api_key else '' end as api_key,
    case when preferred.key_count = 1 and not rules.is_declared then preferred.workspace end as workspace
from (select distinct source_format, provider from days_without_key) as logs
cross join rules
left join preferred
    on logs.source_format = preferred.source_format and logs.provider = preferred.provider
