-- Each replayed request with its possible savings in USD under the settings, each saving separately.
with replays as (
    select * from marts.request_replays
    where
        requested_at >= timestamp '${first_day}' and requested_at < date '${last_day}' + interval 1 day
        ${only}
),

-- Some Claude Code logs hold only the first count of each streamed output and cannot show a loop.
output_counts as (
    select coalesce(count(*) filter (where output_tokens > ${runaway_output_tokens}) * 2 >= count(*), true) as are_final
    from marts.requests
    where source_format = 'claude_code' and total_tokens > 0
),

keys as (
    select
        provider, model, api_key, workspace,
        bool_or(write_1h_tokens > 0) as writes_1h
    from replays
    group by all
),

priced as (
    select
        replays.*,
        if(keys.writes_1h, saved_by_5m_usd, 0) as only_5m_usd,
        floor(least(pause_seconds, ${keep_alive_seconds}) / lifetime_seconds)::bigint as pings,
        floor(${keep_alive_seconds} / last_lifetime_seconds)::bigint as pings_in_vain,
        if(lost_tokens > 0 and pause_seconds <= ${keep_alive_seconds}, rewritten_usd, 0)
        - if(coalesce(pings, 0) = 0, 0, pings * keep_alive_usd)
        - if(coalesce(pings_in_vain, 0) = 0, 0, pings_in_vain * last_keep_alive_usd) as kept_alive_usd,
        is_growing and output_tokens <= ${runaway_output_tokens}
        and (source_format <> 'claude_code' or output_counts.are_final) as is_step
    from replays
    inner join keys using (provider, model, api_key, workspace)
    cross join output_counts
),

-- The way to keep a cache is chosen per session, over all of its pauses.
threads as (
    select
        provider, model, api_key, workspace, thread, is_sidechain,
        sum(read_later_tokens) = 0 as is_never_read,
        -- a way without a rate is not chosen
        if(bool_or(kept_alive_usd is null), 0, sum(kept_alive_usd)) as thread_kept_alive_usd,
        if(bool_or(saved_by_1h_usd is null), 0, sum(saved_by_1h_usd)) as thread_1h_usd,
        case
            when sum(lost_tokens) = 0 or greatest(thread_kept_alive_usd, thread_1h_usd) <= 0 then 'none'
            when thread_kept_alive_usd > thread_1h_usd then 'keep-alive'
            else '1h'
        end as hold,
        count(*) filter (where is_step) > ${runaway_requests} as has_many_steps
    from priced
    group by all
),

in_runs as (
    select
        priced.*,
        count(*) filter (where not is_step) over (
            partition by provider, model, api_key, workspace, thread, is_sidechain order by requested_at, request_key
        ) as run
    from priced
    semi join (from threads where has_many_steps) as threads
        using (provider, model, api_key, workspace, thread, is_sidechain)
),

-- Number of consecutive requests without output, up to each request.
steps as (
    select
        request_key,
        count(*) filter (where is_step) over (
            partition by provider, model, api_key, workspace, thread, is_sidechain, run order by requested_at, request_key
        ) as step
    from in_runs
),

-- The later half of the days on which a key and model were used: what is chosen on the earlier half is checked there.
halves as (
    select
        *,
        row_number() over (partition by provider, model, api_key, workspace, project order by usage_date) * 2
        > count(*) over (partition by provider, model, api_key, workspace, project) as is_later
    from (
        select distinct provider, model, api_key, workspace, project, requested_at::date as usage_date
        from replays
    ) as days
)

select
    priced.provider, priced.model, priced.api_key, priced.workspace, priced.project, session_id, request_key, requested_at,
    source_format, is_sidechain, is_later,
    read_tokens, write_5m_tokens, write_1h_tokens, input_tokens, output_tokens, estimated_cost_usd as cost_usd,
    ---------- rules for all requests of a key and model, which need not know what comes later
    saved_without_cache_usd as none_usd, only_5m_usd, saved_by_1h_usd as only_1h_usd,
    if(session_id <> '' and not is_sidechain and is_first, saved_if_delayed_usd, 0) as delayed_usd,
    if(is_sidechain, none_usd, 0) as without_in_subagents_usd,
    if(session_id = '' and not is_sidechain, none_usd, 0) as without_in_single_calls_usd,
    kept_alive_usd,
    if(session_id <> '' and not is_sidechain, only_1h_usd, 0) as hour_usd,
    surcharge_usd,
    if(input_tokens * (1 - ${long_context_trim}) <= base_rate_tokens, surcharge_usd, 0)::decimal(38, 12) as long_usd,
    if(is_step and step > ${runaway_requests}, cost_usd, 0)::decimal(38, 12) as runaway_usd,
    ---------- with hindsight: only the writes that nobody read later, only the sessions that paused
    if(is_never_read or is_followed, write_5m_tokens + write_1h_tokens - read_later_tokens, 0) as unread_tokens,
    if(is_never_read or is_followed, saved_if_unread_usd, 0)::decimal(38, 12) as unread_usd,
    lost_tokens, coalesce(rewritten_usd, 0) as rewritten_usd, hold,
    (case hold when '1h' then only_1h_usd when 'keep-alive' then kept_alive_usd else 0 end)::decimal(38, 12) as lost_usd,
    ---------- requests that a cache policy affects; any other rule affects those whose cost it changes
    read_tokens + write_5m_tokens + write_1h_tokens > 0 as in_cache_policy
from priced
inner join threads using (provider, model, api_key, workspace, thread, is_sidechain)
inner join halves
    on
        priced.provider = halves.provider
        and priced.model = halves.model
        and priced.api_key = halves.api_key
        and priced.workspace = halves.workspace
        and priced.project = halves.project
        and priced.requested_at::date = halves.usage_date
left join steps using (request_key)
