{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    All usage, one row per record, priced: console rows, requests, and the rests of session-level rows. All marts of usage
    are aggregates of this table, so they cannot disagree.
#}
with console_usage as (
    select * from {{ ref('int_console_usage') }}
    -- without coarser rows that finer rows cover completely
    where
        is_in_force
        and not (has_finer_rows and total_tokens = 0 and web_search_count = 0 and coalesce(request_count, 0) = 0)
        and {{ in_scope('usage_date') }}
),

requests as (
    select * from {{ ref('int_requests') }}
    where {{ in_days('requested_at') }}
),

session_records as (
    select * from {{ ref('int_session_records') }}
),

rates as (
    select * from {{ ref('int_rates') }}
),

context_windows as (
    select * from {{ source('raw', 'context_windows') }}
),

-- Labels of a session in the application's table also apply to its requests.
known_sessions as (
    select
        session_id,
        {% for dimension in ['api_key', 'workspace', 'user_id', 'project'] -%}
        arg_max({{ dimension }}, (provider, last_updated_at)) as {{ dimension }}{{ ',' if not loop.last }}
        {% endfor %}
    from session_records
    where has_requests and session_id in (select session_id from requests)
    group by session_id
),

console_records as (
    select
        'console' as source,
        'console_usage' as source_format,
        'interval' as record_kind,
        '' as request_key,
        '' as session_id,
        usage_start as usage_at,
        {{ seconds_after('usage_start', 'bucket_seconds') }} as last_at,
        usage_start as usage_minute,
        bucket_seconds,
        false as spans_midnight,
        provider,
        model,
        model_version,
        api_key,
        workspace,
        'stated' as key_origin,
        user_id,
        '' as project,
        usage_type,
        context_window,
        inference_geo,
        speed,
        false as is_sidechain,
        {{ kind_columns() }},
        {{ part_columns() }},
        web_search_count,
        null::bigint as stated_total_tokens,
        request_count,
        cache_split_assumed
    from console_usage
),

request_records as (
    select
        'sessions' as source,
        requests.source_format,
        'request' as record_kind,
        requests.request_key,
        requests.session_id,
        requests.requested_at as usage_at,
        requests.requested_at as last_at,
        date_trunc('minute', requests.requested_at) as usage_minute,
        60 as bucket_seconds,
        false as spans_midnight,
        requests.provider,
        requests.model,
        requests.model_version,
        {{ paying_key(['requests', 'known_sessions'], 'requests') }},
        coalesce(nullif(requests.user_id, ''), known_sessions.user_id, '') as user_id,
        coalesce(nullif(requests.project, ''), known_sessions.project, '') as project,
        requests.usage_type,
        if(
            requests.total_tokens - requests.output_tokens > 200000, '200k-1M', '0-200k'
        ) as context_window,
        requests.inference_geo,
        requests.speed,
        requests.is_sidechain,
        {{ kind_columns('requests') }},
        {{ part_columns('requests') }},
        requests.web_search_count,
        requests.stated_total_tokens,
        1::bigint as request_count,
        requests.cache_split_assumed
    from requests
    left join known_sessions using (session_id)
),

session_rests as (
    select
        'sessions' as source,
        'token_usage_sessions' as source_format,
        'session' as record_kind,
        '' as request_key,
        session_id,
        session_started_at as usage_at,
        last_updated_at as last_at,
        -- the smallest UTC-aligned bucket that holds the whole session; across midnight, the day on which it started
        case
            when date_trunc('minute', session_started_at) = date_trunc('minute', last_updated_at)
                then date_trunc('minute', session_started_at)
            when date_trunc('hour', session_started_at) = date_trunc('hour', last_updated_at)
                then date_trunc('hour', session_started_at)
            else date_trunc('day', session_started_at)
        end as usage_minute,
        case
            when date_trunc('minute', session_started_at) = date_trunc('minute', last_updated_at) then 60
            when date_trunc('hour', session_started_at) = date_trunc('hour', last_updated_at) then 3600
            else 86400
        end as bucket_seconds,
        session_started_at::date <> last_updated_at::date as spans_midnight,
        provider,
        model,
        model_version,
        {{ paying_key(['session_records'], 'session_records') }},
        user_id,
        project,
        '' as usage_type,
        context_window,
        '' as inference_geo,
        '' as speed,
        false as is_sidechain,
        {% for kind in kinds() -%}
        rest_{{ kind }} as {{ kind }},
        {% endfor -%}
        {% for part in part_kinds() -%}
        0::bigint as {{ part }},
        {% endfor -%}
        rest_web_search_count as web_search_count,
        null::bigint as stated_total_tokens,
        if(has_requests, null, request_count) as request_count,
        cache_split_assumed
    from session_records
    where not is_covered and {{ in_days('session_started_at') }}
),

records as (
    select * from console_records
    union all
    select * from request_records
    union all
    select * from session_rests
),

-- Tiers that a source does not state are priced as standard: no batch, no long context, no region, no fast mode.
-- Some models change their price elsewhere than at 200k tokens; this is known for single requests only.
tiered as (
    select
        records.*,
        records.usage_minute::date as usage_date,
        {{ total_of('records') }} as total_tokens,
        coalesce(context_windows.context_window, nullif(records.context_window, ''), '0-200k') as priced_context_window,
        if(records.usage_type = '', 'standard', records.usage_type) as priced_usage_type,
        if(records.inference_geo = 'global', '', records.inference_geo) as priced_inference_geo,
        if(records.speed = '', 'standard', records.speed) as priced_speed
    from records
    left join context_windows
        on
            records.model = context_windows.model
            and records.record_kind = 'request'
            -- a request without input is priced in the smallest window
            and greatest({{ total_of('records') }} - records.output_tokens, 1) > context_windows.above_tokens
            and (
                context_windows.up_to_tokens is null
                or {{ total_of('records') }} - records.output_tokens <= context_windows.up_to_tokens
            )
),

priced as (
    select
        tiered.*,
        {% set kinds_without_rate = [] -%}
        {%- for kind, tokens in priced_tokens('tiered').items() -%}
            {%- do kinds_without_rate.append('if(' ~ tokens ~ ' > 0 and rates.' ~ kind ~ "_usd_per_mtok is null, '" ~ kind ~ "', null)") -%}
        {%- endfor -%}
        {{ list_of_present(kinds_without_rate) }} as unpriced_kinds,
        {{ billing_mode_of('tiered.api_key', 'tiered.project') }} as billing_mode,
        {{ cost_of('tiered', 'rates') }} as cost_usd,
        {{ cost_without_cache_of('tiered', 'rates') }} as without_cache_usd,
        if(tiered.priced_context_window = '0-200k', 0, {{ cost_of('tiered', 'base_rates') }}) as base_cost_usd
    from tiered
    left join rates
        on {{ at_rate('tiered', 'rates', 'priced_') }}
    left join rates as base_rates
        on
            tiered.priced_context_window <> '0-200k'
            and {{ at_rate('tiered', 'base_rates', 'priced_', window="'0-200k'") }}
),

-- The only place that decides whether a row counts (is_in_force). For a provider's day, its account counts if it has
-- usage, else our logs; separately for metered usage and usage within a subscription.
accounts as (
    select
        provider,
        usage_start::date as usage_date,
        list(distinct {{ billing_mode_of('api_key', "''") }}) as billing_modes
    from console_usage
    where {{ total_of('console_usage') }} > 0 or web_search_count > 0 or request_count > 0
    group by all
)

select
    {{ star_except(
        ['priced_usage_type', 'priced_inference_geo', 'priced_speed', 'cost_usd', 'without_cache_usd', 'base_cost_usd'], 'priced'
    ) }},
    if(array_length(unpriced_kinds) > 0, null, cost_usd)::decimal(38, 12) as estimated_cost_usd,
    if(array_length(unpriced_kinds) > 0, null, without_cache_usd)::decimal(38, 12) as cost_without_cache_usd,
    if(priced_context_window = '0-200k', 0, if(array_length(unpriced_kinds) > 0, null, cost_usd - base_cost_usd))::decimal(38, 12)
        as surcharge_usd,
    priced.source = 'console'
    or not coalesce(list_contains(accounts.billing_modes, priced.billing_mode), false) as is_in_force
from priced
left join accounts
    on priced.provider = accounts.provider and priced.usage_date = accounts.usage_date
