-- Each metered, priced request replayed: what it would have saved under other cache policies and habits, in USD, each
-- saving by itself. docs/savings.md says why. A thread is the requests of a session with one model; requests without a
-- session are one thread of their key. `cached` is the prompt's part that the cache holds after a request.
with chosen as (
    select
        request_key, requested_at, provider, model, api_key, workspace, project, user_id, session_id, source_format,
        priced_context_window,
        is_sidechain,
        if(session_id = '', concat('user=', user_id, ' project=', project), session_id) as thread,
        session_id <> '' and not is_sidechain as is_conversation,
        if(usage_type = '', 'standard', usage_type) as usage_type,
        if(inference_geo = 'global', '', inference_geo) as inference_geo,
        if(speed = '', 'standard', speed) as speed,
        requested_at::date as usage_date,
        input_tokens_cache_write_5m as write_5m,
        input_tokens_cache_write_1h as write_1h,
        input_tokens_cache_write_5m + input_tokens_cache_write_1h as written,
        input_tokens_cache_read as was_read,
        input_tokens_cache_read + written as cached,
        total_tokens - output_tokens as input_tokens,
        output_tokens,
        estimated_cost_usd as cost_usd,
        surcharge_usd
    from marts.requests
    where
        billing_mode = 'metered' and estimated_cost_usd is not null and total_tokens > 0
        -- audio and images have rates of their own, and what of them another policy would cache is not told
        and input_audio_tokens + input_image_tokens + cache_read_audio_tokens + cache_read_image_tokens = 0
        and requested_at >= timestamp '${first_day}' and requested_at < date '${last_day}' + interval 1 day
        ${only}
),

tiers as (
    select distinct provider, model, priced_context_window, usage_type, inference_geo, speed, usage_date
    from chosen
),

-- USD a token
rates as (
    select
        tiers.*,
        (max(card.usd_per_mtok) filter (where card.token_kind = 'input_no_cache') * 0.000001)::decimal(18, 12) as input_usd,
        (max(card.usd_per_mtok) filter (where card.token_kind = 'cache_write_5m') * 0.000001)::decimal(18, 12) as write_5m_usd,
        (max(card.usd_per_mtok) filter (where card.token_kind = 'cache_write_1h') * 0.000001)::decimal(18, 12) as write_1h_usd,
        (max(card.usd_per_mtok) filter (where card.token_kind = 'cache_read') * 0.000001)::decimal(18, 12) as read_usd,
        (max(card.usd_per_mtok) filter (where card.token_kind = 'output') * 0.000001)::decimal(18, 12) as output_usd
    from tiers
    inner join ${card} as card
        on
            tiers.model = card.model
            and tiers.provider = card.provider
            and tiers.priced_context_window = card.context_window
            and tiers.usage_type = card.usage_type
            and tiers.inference_geo = card.inference_geo
            and tiers.speed = card.speed
            and tiers.usage_date >= card.valid_from
            and (card.valid_to is null or tiers.usage_date < card.valid_to)
    group by all
),

-- Some Claude Code logs hold only the first count of each streamed output: they cannot tell a loop.
truthful as (
    select coalesce(count(*) filter (where output_tokens > ${runaway_output_tokens}) * 2 >= count(*), true) as is_truthful
    from marts.requests
    where source_format = 'claude_code' and total_tokens > 0
),

threaded as (
    select
        *,
        lag(requested_at) over thread as before_at,
        coalesce(lag(cached) over thread, 0) as cached_before,
        lag(input_tokens) over thread as input_before,
        lead(requested_at) over thread is null as is_last,
        coalesce(max(cached) over (thread rows between unbounded preceding and 1 preceding), 0) as most_cached_before,
        -- how long what stands in the cache lives: as the last write before said, the shorter of two
        last_value(case when write_5m > 0 then 300 when write_1h > 0 then 3600 end ignore nulls) over (
            thread rows between unbounded preceding and 1 preceding
        ) as lifetime_seconds,
        coalesce(max(was_read) over within_5m, 0) as read_within_5m,
        coalesce(max(was_read) over within_1h, 0) as read_within_1h,
        coalesce(max(cached) over within_5m, 0) as cached_within_5m,
        coalesce(max(cached) over within_1h, 0) as cached_within_1h
    from chosen
    window
        thread as (
            partition by provider, model, api_key, workspace, thread, is_sidechain order by requested_at, request_key
        ),
        within_5m as (
            partition by provider, model, api_key, workspace, thread, is_sidechain order by requested_at
            range between interval 1 microsecond following and interval 300 second following
        ),
        within_1h as (
            partition by provider, model, api_key, workspace, thread, is_sidechain order by requested_at
            range between interval 1 microsecond following and interval 3600 second following
        )
),

-- A read of more than the thread itself ever cached reads what another thread of the key wrote.
shared as (
    select
        *,
        (epoch_us(requested_at) - epoch_us(before_at)) / 1000000.0 as gap_seconds,
        bool_or(write_1h > 0) over (partition by provider, model, api_key, workspace) as key_writes_1h,
        coalesce(max(if(was_read > most_cached_before, was_read, 0)) over within_5m, 0) as shared_within_5m,
        coalesce(max(if(was_read > most_cached_before, was_read, 0)) over within_1h, 0) as shared_within_1h
    from threaded
    window
        within_5m as (
            partition by provider, model, api_key, workspace order by requested_at
            range between interval 1 microsecond following and interval 300 second following
        ),
        within_1h as (
            partition by provider, model, api_key, workspace order by requested_at
            range between interval 1 microsecond following and interval 3600 second following
        )
),

touches as (
    select provider, model, api_key, workspace, cached as prefix_tokens, requested_at from chosen where cached > 0
    union all
    select provider, model, api_key, workspace, was_read as prefix_tokens, requested_at from chosen where was_read > 0
),

-- What is read was last touched by the latest request of the key that left or read exactly as many tokens, else by the
-- one just before in the thread.
continued as (
    select
        shared.*,
        (epoch_us(shared.requested_at) - epoch_us(coalesce(touches.requested_at, shared.before_at))) / 1000000.0
            as read_gap_seconds
    from shared
    asof left join touches
        on
            shared.provider = touches.provider
            and shared.model = touches.model
            and shared.api_key = touches.api_key
            and shared.workspace = touches.workspace
            and shared.was_read = touches.prefix_tokens
            and shared.requested_at > touches.requested_at
),

judged as (
    select
        continued.*,
        rates.input_usd, rates.write_5m_usd, rates.write_1h_usd, rates.read_usd, rates.output_usd,
        is_conversation and cached_before > 0 and coalesce(gap_seconds > lifetime_seconds, false) as is_pause,
        -- the prompt went on where it had stopped, and was written again
        if(is_pause and cached >= cached_before, greatest(cached_before - was_read, 0), 0) as lost_tokens,
        if(lifetime_seconds = 300 and gap_seconds <= 3600, least(lost_tokens, write_5m), 0) as held_by_1h_tokens,
        -- read today thanks to a one-hour entry, and gone after five minutes
        if(
            key_writes_1h and was_read > 0 and coalesce(lifetime_seconds, 3600) = 3600
            and coalesce(read_gap_seconds > 300, true),
            was_read, 0
        ) as missed_by_5m_tokens,
        greatest(0, least(
            written,
            greatest(
                if(write_1h > 0, read_within_1h, read_within_5m), if(write_1h > 0, shared_within_1h, shared_within_5m)
            ) - was_read
        )) as read_later_tokens,
        is_conversation and if(write_1h > 0, cached_within_1h, cached_within_5m) >= cached as went_on,
        session_id <> '' and output_tokens <= ${runaway_output_tokens} and coalesce(input_tokens > input_before, false)
        and gap_seconds <= 300 and (source_format <> 'claude_code' or truthful.is_truthful) as is_step
    from continued
    cross join truthful
    left join rates
        using (provider, model, priced_context_window, usage_type, inference_geo, speed, usage_date)
),

counted as (
    select
        *,
        if(
            sum(read_later_tokens) over thread_whole = 0 or went_on, written - read_later_tokens, 0
        ) as unread_tokens,
        floor(least(gap_seconds, ${keep_alive_seconds}) / lifetime_seconds)::bigint as pings_due,
        -- nobody says that a session has ended: its cache is kept alive in vain for as long
        floor(${keep_alive_seconds} / case
            when write_5m > 0 then 300 when write_1h > 0 then 3600 else lifetime_seconds
        end)::bigint as pings_at_end,
        count(*) filter (where not is_step) over thread as run
    from judged
    window
        thread_whole as (partition by provider, model, api_key, workspace, thread, is_sidechain),
        thread as (
            partition by provider, model, api_key, workspace, thread, is_sidechain order by requested_at, request_key
        )
),

priced as (
    select
        *,
        if(is_pause, pings_due, 0) as pings,
        if(is_conversation and is_last and cached > 0, coalesce(pings_at_end, 0), 0) as pings_in_vain,
        if(gap_seconds <= ${keep_alive_seconds}, lost_tokens, 0) as held_by_pings_tokens,
        -- a null rate leaves a policy without a price
        if(was_read = 0, 0, was_read * (read_usd - input_usd))
        + if(write_5m = 0, 0, write_5m * (write_5m_usd - input_usd))
        + if(write_1h = 0, 0, write_1h * (write_1h_usd - input_usd)) as none_usd,
        if(write_1h = 0, 0, write_1h * (write_1h_usd - write_5m_usd))
        + if(missed_by_5m_tokens = 0, 0, missed_by_5m_tokens * (read_usd - write_5m_usd)) as only_5m_usd,
        if(write_5m = held_by_1h_tokens, 0, (write_5m - held_by_1h_tokens) * (write_5m_usd - write_1h_usd))
        + if(held_by_1h_tokens = 0, 0, held_by_1h_tokens * (write_5m_usd - read_usd)) as only_1h_usd,
        least(lost_tokens, write_5m) as lost_5m_tokens,
        if(lost_5m_tokens = 0, 0, lost_5m_tokens * (write_5m_usd - read_usd))
        + if(lost_tokens = lost_5m_tokens, 0, (lost_tokens - lost_5m_tokens) * (write_1h_usd - read_usd))
            as rewritten_usd,
        if(held_by_pings_tokens = 0, 0, rewritten_usd)
        - if(pings = 0, 0, pings * (cached_before * read_usd + output_usd))
        - if(pings_in_vain = 0, 0, pings_in_vain * (cached * read_usd + output_usd)) as kept_alive_usd,
        least(unread_tokens, write_5m) as unread_5m_tokens,
        if(unread_5m_tokens = 0, 0, unread_5m_tokens * (write_5m_usd - input_usd))
        + if(unread_tokens = unread_5m_tokens, 0, (unread_tokens - unread_5m_tokens) * (write_1h_usd - input_usd))
            as premium_usd,
        count(*) filter (where is_step) over (
            partition by provider, model, api_key, workspace, thread, is_sidechain, run order by requested_at, request_key
        ) as step
    from counted
),

-- What holds the cache of a session is chosen for the session as a whole, losses of every pause included.
held as (
    select
        *,
        sum(lost_tokens) over thread > 0 as loses_cache,
        -- a null rate leaves a way without a price
        if(bool_or(kept_alive_usd is null) over thread, 0, sum(kept_alive_usd) over thread) as thread_kept_alive_usd,
        if(bool_or(only_1h_usd is null) over thread, 0, sum(only_1h_usd) over thread) as thread_1h_usd,
        case
            when not loses_cache or greatest(thread_kept_alive_usd, thread_1h_usd) <= 0 then 'none'
            when thread_kept_alive_usd > thread_1h_usd then 'keep-alive'
            else '1h'
        end as hold
    from priced
    window thread as (partition by provider, model, api_key, workspace, thread, is_sidechain)
)

select
    provider, model, api_key, workspace,
    if(api_key = '', project, '') as project,
    session_id, request_key, requested_at,
    was_read, write_5m, write_1h, input_tokens, output_tokens, cost_usd,
    none_usd, only_5m_usd, only_1h_usd,
    unread_tokens, greatest(coalesce(premium_usd, 0), 0)::decimal(38, 12) as unread_usd,
    lost_tokens, coalesce(rewritten_usd, 0)::decimal(38, 12) as rewritten_usd, hold,
    (case hold when '1h' then only_1h_usd when 'keep-alive' then kept_alive_usd else 0 end)::decimal(38, 12) as lost_usd,
    greatest(coalesce(surcharge_usd, 0), 0) as surcharge_usd,
    if(
        input_tokens * (1 - ${long_context_trim}) <= case
            when priced_context_window like '%k-%' then split_part(priced_context_window, 'k-', 1)::bigint * 1000
            else try_cast(split_part(priced_context_window, '-', 1) as bigint)
        end,
        greatest(coalesce(surcharge_usd, 0), 0), 0
    )::decimal(38, 12) as long_usd,
    if(is_step and step > ${runaway_requests}, cost_usd, 0)::decimal(38, 12) as runaway_usd,
    ---------- what each recommendation would change
    was_read + write_5m + write_1h > 0 as in_cache_policy,
    unread_usd > 0 as in_cache_writes_never_read,
    lost_usd <> 0 as in_lost_cache,
    long_usd > 0 as in_long_context_surcharge,
    runaway_usd > 0 as in_runaway_sessions
from held
