-- Keys that pay for logs, on each day on which the logs may have usage: a session over two days counts on both.
with logs as (
    select
        key_days.usage_date as first_date,
        {{ each_day('key_days.usage_date', 'key_days.last_usage_date') }} as usage_date,
        key_days.source_format,
        key_days.provider,
        case when key_days.key_origin = '' then paying_keys.api_key else key_days.api_key end as api_key,
        coalesce(paying_keys.workspace, key_days.workspace) as workspace,
        case when key_days.key_origin = '' then paying_keys.scope else key_days.key_origin end as scope,
        key_days.known_to,
        key_days.later_days_mark
    from {{ ref('int_key_days') }} as key_days
    left join {{ ref('int_paying_keys') }} as paying_keys
        on
            key_days.key_origin = ''
            and key_days.source_format = paying_keys.source_format
            and key_days.provider = paying_keys.provider
    where key_days.side = 'logged'
)

select
    usage_date,
    source_format,
    provider,
    api_key,
    workspace,
    scope,
    -- these logs are comparable with an account: their keys are known, or all keys of a day are compared together
    scope not in ('unassigned', 'unknown') as is_comparable,
    case when usage_date = first_date then known_to end as known_to,
    later_days_mark
from logs
