-- First and last day of the logs of a format, and whether they cover every key of the account.
with rules as (
    select count(*) > 0 as is_declared from {{ source('raw', 'reconciliation_scope') }}
)

select
    logs.source_format,
    logs.provider,
    min(logs.usage_date) as first_day,
    max(logs.usage_date) as last_day,
    bool_or(logs.scope in ('stated', 'collapsed') and not rules.is_declared) as is_open
from {{ ref('int_logged_keys') }} as logs
cross join rules
where logs.is_comparable
group by logs.source_format, logs.provider
