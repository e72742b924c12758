{{ config(materialized='scoped', scope_column="date_trunc('hour', requested_at)", scope_of='hours') }}

{#
    The cost of a request with other cache usage depends on its thread (the requests of a session with one model;
    without a session, those of a key, user and project on one day), and on the requests of its key within an hour,
    the longest lifetime of a cache. The hours in scope are therefore those of the built days, and one before and
    after.
#}
{%- set nearby -%}
    ({{ in_scope('requested_at::date') }} or {{ in_scope('requested_at::date - 1') }} or {{ in_scope('requested_at::date + 1') }})
{%- endset -%}
{%- set key = 'provider, model, api_key, workspace' -%}
{%- set thread = key ~ ', thread, is_sidechain' -%}

with nearby_sessions as (
    select distinct session_id from {{ ref('requests') }}
    where session_id <> '' and {{ nearby }}
),

rates as (
    select * from {{ ref('int_rates') }}
),

-- `cached_tokens`: the part of the prompt that is in the cache after the request
requests as (
    select
        request_key,
        session_id,
        if(session_id = '', concat('user=', user_id, ' project=', project, ' day=', requested_at::date), session_id)
            as thread,
        source_format,
        requested_at,
        requested_at::date as usage_date,
        provider,
        model,
        api_key,
        workspace,
        if(api_key = '', project, '') as project,
        is_sidechain,
        session_id <> '' and not is_sidechain as is_conversation,
        priced_context_window,
        if(usage_type = '', 'standard', usage_type) as priced_usage_type,
        if(inference_geo = 'global', '', inference_geo) as priced_inference_geo,
        if(speed = '', 'standard', speed) as priced_speed,
        input_tokens_cache_write_5m as write_5m_tokens,
        input_tokens_cache_write_1h as write_1h_tokens,
        input_tokens_cache_write_5m + input_tokens_cache_write_1h as written_tokens,
        input_tokens_cache_read as read_tokens,
        input_tokens_cache_write_5m + input_tokens_cache_write_1h + input_tokens_cache_read as cached_tokens,
        total_tokens - output_tokens as input_tokens,
        output_tokens,
        estimated_cost_usd,
        surcharge_usd
    from {{ ref('requests') }}
    where
        billing_mode = 'metered' and estimated_cost_usd is not null and total_tokens > 0
        -- audio and images have their own rates, and it is unknown what another policy would cache of them
        and input_audio_tokens + input_image_tokens + cache_read_audio_tokens + cache_read_image_tokens = 0
        and ({{ nearby }} or session_id in (select session_id from nearby_sessions))
),

threaded as (
    select
        *,
        lag(requested_at) over in_thread as before_at,
        row_number() over in_thread = 1 as is_first,
        coalesce(lag(cached_tokens) over in_thread, 0) as cached_before_tokens,
        lag(input_tokens) over in_thread as input_before_tokens,
        lead(requested_at) over in_thread is null as is_last,
        coalesce(
            max(cached_tokens) over (in_thread rows between unbounded preceding and 1 preceding), 0
        ) as most_cached_before_tokens,
        if(write_5m_tokens > 0, 300, if(write_1h_tokens > 0, 3600, null)) as own_lifetime_seconds,
        coalesce(max(read_tokens) over within_5m, 0) as read_within_5m_tokens,
        coalesce(max(read_tokens) over within_1h, 0) as read_within_1h_tokens,
        coalesce(max(cached_tokens) over within_5m, 0) as cached_within_5m_tokens,
        coalesce(max(cached_tokens) over within_1h, 0) as cached_within_1h_tokens
    from requests
    window
        in_thread as (partition by {{ thread }} order by requested_at, request_key),
        within_5m as (
            partition by {{ thread }} order by requested_at
            range between interval 1 microsecond following and interval 300 second following
        ),
        within_1h as (
            partition by {{ thread }} order by requested_at
            range between interval 1 microsecond following and interval 3600 second following
        )
),

-- A read of more tokens than the thread ever cached uses the cache of another thread of the key.
shared as (
    select
        *,
        ({{ microseconds('requested_at') }} - {{ microseconds('before_at') }}) / 1000000.0 as gap_seconds,
        -- lifetime of the cached tokens, from the last write before (the shorter of two)
        last_value(own_lifetime_seconds ignore nulls) over (
            partition by {{ thread }} order by requested_at, request_key
            rows between unbounded preceding and 1 preceding
        ) as lifetime_seconds,
        coalesce(max(if(read_tokens > most_cached_before_tokens, read_tokens, 0)) over within_5m, 0)
            as shared_within_5m_tokens,
        coalesce(max(if(read_tokens > most_cached_before_tokens, read_tokens, 0)) over within_1h, 0)
            as shared_within_1h_tokens
    from threaded
    window
        within_5m as (
            partition by {{ key }} order by requested_at
            range between interval 1 microsecond following and interval 300 second following
        ),
        within_1h as (
            partition by {{ key }} order by requested_at
            range between interval 1 microsecond following and interval 3600 second following
        )
),

touches as (
    select {{ key }}, cached_tokens as prefix_tokens, requested_at, null as request_key from requests
    where cached_tokens > 0
    union all
    select {{ key }}, read_tokens as prefix_tokens, requested_at, request_key from requests
    where read_tokens > 0
),

-- The key's latest request in the hour before that left in the cache, or read, exactly as many tokens as are read.
touched as (
    select
        request_key,
        max(requested_at) over (
            partition by {{ key }}, prefix_tokens order by requested_at
            range between interval 3600 second preceding and interval 1 microsecond preceding
        ) as touched_at
    from touches
),

assessed as (
    select
        shared.*,
        is_conversation and cached_before_tokens > 0 and coalesce(gap_seconds > lifetime_seconds, false) as is_pause,
        greatest(0, least(
            written_tokens,
            if(
                write_1h_tokens > 0,
                greatest(read_within_1h_tokens, shared_within_1h_tokens),
                greatest(read_within_5m_tokens, shared_within_5m_tokens)
            ) - read_tokens
        )) as read_later_tokens,
        is_conversation
        and if(write_1h_tokens > 0, cached_within_1h_tokens, cached_within_5m_tokens) >= cached_tokens as is_followed,
        -- read from a one-hour entry; would have expired after five minutes
        if(
            read_tokens > 0 and coalesce(lifetime_seconds, 3600) = 3600
            and coalesce(
                {{ microseconds('requested_at') }} - {{ microseconds('coalesce(touched.touched_at, before_at)') }} > 300000000,
                true
            ),
            read_tokens, 0
        ) as missed_by_5m_tokens
    from shared
    left join touched on shared.request_key = touched.request_key
),

-- The prompt continued after a pause, and was written to the cache again.
lost as (
    select
        *,
        if(is_pause and cached_tokens >= cached_before_tokens, greatest(cached_before_tokens - read_tokens, 0), 0)
            as lost_tokens
    from assessed
),

amounts as (
    select
        *,
        least(lost_tokens, write_5m_tokens) as lost_5m_tokens,
        if(lifetime_seconds = 300 and gap_seconds <= 3600, least(lost_tokens, write_5m_tokens), 0) as held_by_1h_tokens,
        written_tokens - read_later_tokens as unread_tokens,
        least(written_tokens - read_later_tokens, write_5m_tokens) as unread_5m_tokens
    from lost
    where {{ in_scope("date_trunc('hour', requested_at)", 'hours') }}
)

select
    ---------- ids
    amounts.request_key,
    amounts.session_id,
    amounts.thread,
    amounts.source_format,
    amounts.requested_at,

    ---------- dimensions
    amounts.provider,
    amounts.model,
    amounts.api_key,
    amounts.workspace,
    amounts.project,
    amounts.is_sidechain,

    ---------- numerics
    amounts.write_5m_tokens,
    amounts.write_1h_tokens,
    amounts.read_tokens,
    amounts.input_tokens,
    amounts.output_tokens,
    amounts.estimated_cost_usd,
    (
        {{ difference_of('read_tokens', 'cache_read', 'input_no_cache') }}
        + {{ difference_of('write_5m_tokens', 'cache_write_5m', 'input_no_cache') }}
        + {{ difference_of('write_1h_tokens', 'cache_write_1h', 'input_no_cache') }}
    )::decimal(38, 12) as saved_without_cache_usd,
    (
        {{ difference_of('write_1h_tokens', 'cache_write_1h', 'cache_write_5m') }}
        + {{ difference_of('missed_by_5m_tokens', 'cache_read', 'cache_write_5m') }}
    )::decimal(38, 12) as saved_by_5m_usd,
    (
        {{ difference_of('(write_5m_tokens - held_by_1h_tokens)', 'cache_write_5m', 'cache_write_1h') }}
        + {{ difference_of('held_by_1h_tokens', 'cache_write_5m', 'cache_read') }}
    )::decimal(38, 12) as saved_by_1h_usd,
    amounts.read_later_tokens,
    amounts.is_followed,
    greatest(coalesce(
        {{ difference_of('unread_5m_tokens', 'cache_write_5m', 'input_no_cache') }}
        + {{ difference_of('(unread_tokens - unread_5m_tokens)', 'cache_write_1h', 'input_no_cache') }}, 0
    ), 0)::decimal(38, 12) as saved_if_unread_usd,
    amounts.is_first,
    -- what nobody read later is plain input; what was read later is plain input too, and written by its first reader
    (
        {{ difference_of('unread_5m_tokens', 'cache_write_5m', 'input_no_cache') }}
        + {{ difference_of('(unread_tokens - unread_5m_tokens)', 'cache_write_1h', 'input_no_cache') }}
        + {{ difference_of('read_later_tokens', 'cache_read', 'input_no_cache') }}
    )::decimal(38, 12) as saved_if_delayed_usd,
    if(amounts.is_pause, amounts.gap_seconds, null) as pause_seconds,
    if(amounts.is_pause, amounts.lifetime_seconds, null)::bigint as lifetime_seconds,
    amounts.lost_tokens,
    (
        {{ difference_of('lost_5m_tokens', 'cache_write_5m', 'cache_read') }}
        + {{ difference_of('(lost_tokens - lost_5m_tokens)', 'cache_write_1h', 'cache_read') }}
    )::decimal(38, 12) as rewritten_usd,
    if(
        amounts.is_pause,
        {{ money('amounts.cached_before_tokens', 'rates.cache_read_usd_per_mtok') }}
        + {{ money('1', 'rates.output_usd_per_mtok') }}, 0
    )::decimal(38, 12) as keep_alive_usd,
    -- the end of a session is unknown, so its cache would be kept alive in vain
    if(
        amounts.is_conversation and amounts.is_last and amounts.cached_tokens > 0,
        coalesce(amounts.own_lifetime_seconds, amounts.lifetime_seconds), null
    )::bigint as last_lifetime_seconds,
    if(
        amounts.is_conversation and amounts.is_last,
        {{ money('amounts.cached_tokens', 'rates.cache_read_usd_per_mtok') }}
        + {{ money('1', 'rates.output_usd_per_mtok') }}, 0
    )::decimal(38, 12) as last_keep_alive_usd,
    greatest(coalesce(amounts.surcharge_usd, 0), 0)::decimal(38, 12) as surcharge_usd,
    case
        when amounts.priced_context_window like '%k-%' then split_part(amounts.priced_context_window, 'k-', 1)::bigint * 1000
        else try_cast(split_part(amounts.priced_context_window, '-', 1) as bigint)
    end as base_rate_tokens,
    amounts.session_id <> '' and coalesce(amounts.input_tokens > amounts.input_before_tokens, false)
    and amounts.gap_seconds <= 300 as is_growing
from amounts
left join rates on {{ at_rate('amounts', 'rates', 'priced_') }}
order by amounts.requested_at, amounts.request_key
