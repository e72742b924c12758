{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    Console exports and API pages contain the same usage, so one channel per provider and day counts: the preferred
    one of the settings, if it has the day. If it has hours or minutes of only a part of the day, and the other
    channel has more outside of that part, the other one counts.
#}
with exports as (
    select * from {{ source('raw', 'exports') }}
),

account_channels as (
    select * from {{ source('raw', 'account_channels') }}
),

intervals as (
    select
        provider,
        usage_date,
        channel,
        file_sha256,
        usage_start,
        usage_start + bucket_seconds * interval '1 second' as usage_end,
        sum({{ total_of() }}) as total_tokens
    from {{ ref('int_console_rests') }}
    where {{ in_scope('usage_date') }}
    group by all
),

-- Tokens of each channel on a day, and the part of the day that it covers.
channel_days as (
    select
        intervals.provider,
        intervals.usage_date,
        intervals.channel,
        intervals.channel = coalesce(min(account_channels.channel), 'csv') as is_preferred,
        sum(intervals.total_tokens) as total_tokens,
        least(min(intervals.usage_start), min(exports.covers_from)) as first_start,
        greatest(max(intervals.usage_end), max(exports.covers_to)) as last_end
    from intervals
    left join exports on intervals.file_sha256 = exports.file_sha256
    left join account_channels on intervals.provider = account_channels.provider
    group by intervals.provider, intervals.usage_date, intervals.channel
),

-- Days that the preferred channel covers only in part, and on which the other one has more tokens outside of that part.
exceptions as (
    select distinct
        preferred.provider,
        preferred.usage_date
    from channel_days as preferred
    inner join channel_days as other
        on
            preferred.provider = other.provider
            and preferred.usage_date = other.usage_date
            and preferred.is_preferred
            and not other.is_preferred
            and preferred.total_tokens < other.total_tokens
    inner join intervals
        on
            other.provider = intervals.provider
            and other.usage_date = intervals.usage_date
            and other.channel = intervals.channel
            and intervals.total_tokens > 0
    where
        (
            preferred.first_start > preferred.usage_date::timestamp
            or preferred.last_end < preferred.usage_date::timestamp + interval '1 day'
        )
        and (
            intervals.usage_end = intervals.usage_start + interval '1 day'
            or intervals.usage_end <= preferred.first_start
            or intervals.usage_start >= preferred.last_end
        )
)

select
    channel_days.usage_date,
    channel_days.provider,
    coalesce(
        max(channel_days.channel) filter (where channel_days.is_preferred = (exceptions.usage_date is null)),
        max(channel_days.channel)
    ) as channel_in_force
from channel_days
left join exceptions
    on channel_days.provider = exceptions.provider and channel_days.usage_date = exceptions.usage_date
group by channel_days.provider, channel_days.usage_date
