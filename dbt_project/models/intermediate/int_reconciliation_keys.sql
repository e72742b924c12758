-- Facts about a key on a day: how logs are assigned to it, whether they cover the day, and its workspace in the
-- account.
with key_days as (
    select * from {{ ref('int_key_days') }}
),

logged_keys as (
    select * from {{ ref('int_logged_keys') }}
),

keys as (
    select usage_date, provider, api_key from key_days
    where side <> 'logged'
    union
    select usage_date, provider, api_key from logged_keys
    union
    -- the name for all keys of a day that are compared as one
    select usage_date, provider, '' as api_key from key_days
    union
    select usage_date, provider, '' as api_key from logged_keys
),

scopes as (
    select
        provider,
        api_key,
        min(scope) as scope
    from logged_keys
    where is_comparable
    group by provider, api_key
),

-- Days covered by a log format that names the key.
spans as (
    select distinct
        logged_keys.provider,
        logged_keys.api_key,
        log_spans.first_day,
        log_spans.last_day
    from logged_keys
    inner join {{ ref('int_log_spans') }} as log_spans
        on logged_keys.provider = log_spans.provider and logged_keys.source_format = log_spans.source_format
    where logged_keys.is_comparable
),

logged_days as (
    select distinct keys.usage_date, keys.provider, keys.api_key
    from keys
    inner join spans
        on
            keys.provider = spans.provider
            and keys.api_key = spans.api_key
            and keys.usage_date between spans.first_day and spans.last_day
),

-- A log's workspace is that of its key in the account, if there is only one.
workspaces as (
    select
        provider,
        api_key,
        min(workspace) as workspace
    from key_days
    where workspace <> '' and side <> 'logged'
    group by provider, api_key
    having count(distinct workspace) = 1
),

logs as (
    select
        usage_date,
        provider,
        api_key,
        bit_xor(hash(source_format, workspace, scope, later_days_mark))::varchar as mark
    from (
        select distinct usage_date, provider, api_key, source_format, workspace, scope, later_days_mark from logged_keys
    ) as distinct_logs
    group by usage_date, provider, api_key
)

select
    keys.usage_date,
    keys.provider,
    keys.api_key,
    scopes.scope,
    logged_days.usage_date is not null as is_logged_day,
    workspaces.workspace,
    logs.mark as logs_mark
from keys
left join scopes
    on keys.provider = scopes.provider and keys.api_key = scopes.api_key
left join logged_days
    on
        keys.usage_date = logged_days.usage_date
        and keys.provider = logged_days.provider
        and keys.api_key = logged_days.api_key
left join workspaces
    on keys.provider = workspaces.provider and keys.api_key = workspaces.api_key
left join logs
    on keys.usage_date = logs.usage_date and keys.provider = logs.provider and keys.api_key = logs.api_key
