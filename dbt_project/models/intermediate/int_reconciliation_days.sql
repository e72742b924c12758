-- Which sides take part in the comparison of a day, and whether one of them ends before the others.
with key_days as (
    select * from {{ ref('int_key_days') }}
),

logged_keys as (
    select * from {{ ref('int_logged_keys') }}
),

log_spans as (
    select * from {{ ref('int_log_spans') }}
),

exports as (
    select
        account_formats.provider,
        account_formats.side,
        files.first_usage_date,
        files.last_usage_date
    from {{ source('ingest', 'files') }} as files
    inner join raw.account_formats as account_formats
        on files.format = account_formats.format
    where files.status = 'loaded' and files.rows_loaded > 0 and files.first_usage_date is not null
),

keys as (
    select usage_date, provider, api_key, true as is_comparable
    from key_days
    where side <> 'logged'
    union all
    select usage_date, provider, api_key, is_comparable
    from logged_keys
),

-- If one side does not name keys and another does, all keys of the day are compared as one.
days as (
    select
        usage_date,
        provider,
        bool_or(is_comparable and api_key = '') and bool_or(is_comparable and api_key <> '') as is_collapsed
    from keys
    group by usage_date, provider
),

exported_days as (
    select
        days.usage_date,
        days.provider,
        bool_or(exports.side = 'console') as is_console_day,
        bool_or(exports.side = 'console' and exports.last_usage_date > days.usage_date) as console_goes_on,
        bool_or(exports.side = 'billed') as is_billed_day
    from days
    inner join exports
        on days.provider = exports.provider and days.usage_date between exports.first_usage_date and exports.last_usage_date
    group by days.usage_date, days.provider
),

export_ends as (
    select
        provider,
        max(last_usage_date) filter (where side = 'console') as console_last_day,
        max(last_usage_date) filter (where side = 'billed') as billed_last_day
    from exports
    group by provider
),

logged_days as (
    select
        days.usage_date,
        days.provider,
        bool_or(log_spans.is_open) as is_open
    from days
    inner join log_spans
        on days.provider = log_spans.provider and days.usage_date between log_spans.first_day and log_spans.last_day
    group by days.usage_date, days.provider
),

log_providers as (
    select
        provider,
        bool_or(is_open) as is_open,
        max(last_day) as last_day
    from log_spans
    group by provider
),

-- The last day of an export by hour or minute may be incomplete.
console_ends as (
    select
        usage_date,
        provider,
        max(known_to) as known_to
    from key_days
    where side = 'console'
    group by usage_date, provider
),

log_ends as (
    select
        usage_date,
        provider,
        max(known_to) as known_to
    from logged_keys
    where is_comparable
    group by usage_date, provider
)

select
    days.usage_date,
    days.provider,
    days.is_collapsed,
    coalesce(exported_days.is_console_day, false) as is_console_day,
    coalesce(exported_days.is_billed_day, false) as is_billed_day,
    logged_days.usage_date is not null as is_logged_day,
    coalesce(logged_days.is_open, false) as is_open_day,
    log_providers.provider is not null as has_logs,
    coalesce(logged_days.is_open, log_providers.is_open, false) as is_open,
    not coalesce(exported_days.console_goes_on, false)
    and coalesce(console_ends.known_to, days.usage_date::timestamp) < days.usage_date::timestamp + interval 1 day
        as console_ends_inside_day,
    coalesce(
        days.usage_date = export_ends.console_last_day
        and (
            log_providers.last_day > days.usage_date
            or log_ends.known_to > coalesce(console_ends.known_to, days.usage_date::timestamp)
        ),
        false
    ) as console_ends_before_logs,
    coalesce(days.usage_date = export_ends.billed_last_day and log_providers.last_day > days.usage_date, false)
        as billed_ends_before_logs
from days
left join exported_days
    on days.usage_date = exported_days.usage_date and days.provider = exported_days.provider
left join export_ends
    on days.provider = export_ends.provider
left join logged_days
    on days.usage_date = logged_days.usage_date and days.provider = logged_days.provider
left join log_providers
    on days.provider = log_providers.provider
left join console_ends
    on days.usage_date = console_ends.usage_date and days.provider = console_ends.provider
left join log_ends
    on days.usage_date = log_ends.usage_date and days.provider = log_ends.provider
