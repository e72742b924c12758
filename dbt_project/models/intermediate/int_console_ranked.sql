{{ config(materialized='view') }}

{#
    Usage exports in force, one row per export, interval and key. Of two exports with the same grain, interval and
    key, one is in force: the one that reaches further, then the one with the greater total, then the one that
    separates 5-minute and 1-hour writes, then the greater sha256. File names and dates never matter. Of two pulls
    of one bucket, the later one replaces the earlier one completely.
#}
{%- set interval_and_key = ['channel', 'provider', 'usage_start', 'bucket_seconds', 'stated'] + console_dimensions().values() | list -%}
{%- set is_in_scope = in_days('usage_start') -%}

with pulls as (
    select * from {{ source('raw', 'exports') }}
    where is_pull and side = 'console'
),

-- Only days on which exports compete are ranked; on other days, sorting all rows would be wasted.
contested_days as (
    select usage_start::date as usage_date
    from {{ ref('stg_console_usage') }}
    where {{ is_in_scope }}
    group by usage_start::date
    having min(file_sha256) < max(file_sha256) or bool_or(channel = 'api')
),

contested as (
    select
        file_sha256,
        export_reaches_to,
        {{ interval_and_key | join(', ') }},
        sum(total_tokens) as total_tokens,
        bool_or(cache_split_assumed) as cache_split_assumed
    from {{ ref('stg_console_usage') }}
    where {{ is_in_scope }} and usage_start::date in (select usage_date from contested_days)
    group by all
),

latest_pulls as (
    select
        contested.provider,
        contested.bucket_seconds,
        contested.stated,
        contested.usage_start,
        max(pulls.reaches_to) as pulled_at
    from (select distinct provider, bucket_seconds, stated, usage_start from contested where channel = 'api') as contested
    inner join pulls
        on
            contested.provider = pulls.provider
            and contested.bucket_seconds = pulls.bucket_seconds
            and contested.stated = pulls.stated
            and contested.usage_start >= pulls.covers_from
            and contested.usage_start < pulls.covers_to
    group by all
),

ranked as (
    select
        contested.*,
        contested.channel = 'api' and coalesce(contested.export_reaches_to < latest_pulls.pulled_at, false) as is_pulled_again,
        row_number() over (
            partition by contested.{{ interval_and_key | join(', contested.') }}
            order by
                contested.export_reaches_to desc, contested.total_tokens desc, contested.cache_split_assumed,
                contested.file_sha256 desc
        ) as precedence
    from contested
    left join latest_pulls
        on
            contested.provider = latest_pulls.provider
            and contested.bucket_seconds = latest_pulls.bucket_seconds
            and contested.stated = latest_pulls.stated
            and contested.usage_start = latest_pulls.usage_start
),

superseded as (
    select * from ranked
    where precedence > 1 or is_pulled_again
),

-- Rows of one key within an export are parts: add them up.
summed as (
    select
        ---------- key
        file_sha256,
        usage_start,
        usage_start::date as usage_date,
        bucket_seconds,
        provider,
        channel,
        model,
        model_version,
        api_key,
        workspace,
        user_id,
        usage_type,
        context_window,
        inference_geo,
        speed,
        stated,

        ---------- tokens
        {{ sum_kinds() }},
        {{ sum_parts() }},
        sum(web_search_count)::bigint as web_search_count,
        sum(request_count)::bigint as request_count,
        sum(total_tokens)::bigint as exported_tokens,
        bool_or(cache_split_assumed) as cache_split_assumed,
        false as has_finer_rows,
        false as rest_was_negative
    from {{ ref('stg_console_usage') }}
    where {{ is_in_scope }}
    group by all
)

select summed.*
from summed
left join superseded using (file_sha256, {{ interval_and_key | join(', ') }})
where superseded.precedence is null
