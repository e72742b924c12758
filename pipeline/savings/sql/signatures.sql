-- Savings of each rule, summed over the requests of a key and model that are affected by the same rules, by half.
select
    provider, model, api_key, workspace, project, is_later,
    in_cache_policy,
    coalesce(delayed_usd <> 0, false) as in_delayed,
    coalesce(without_in_subagents_usd <> 0, false) as in_without_in_subagents,
    coalesce(without_in_single_calls_usd <> 0, false) as in_without_in_single_calls,
    coalesce(kept_alive_usd <> 0, false) as in_kept_alive,
    coalesce(hour_usd <> 0, false) as in_hour,
    long_usd > 0 as in_long,
    runaway_usd > 0 as in_runaway,
    count(*) as requests,
    max(requested_at)::date as last_seen,
    sum(cost_usd)::decimal(38, 12) as cost_usd,
    if(bool_or(none_usd is null), null, sum(none_usd))::decimal(38, 12) as none_usd,
    if(bool_or(only_5m_usd is null), null, sum(only_5m_usd))::decimal(38, 12) as only_5m_usd,
    if(bool_or(only_1h_usd is null), null, sum(only_1h_usd))::decimal(38, 12) as only_1h_usd,
    if(bool_or(delayed_usd is null), null, sum(delayed_usd))::decimal(38, 12) as delayed_usd,
    if(bool_or(without_in_subagents_usd is null), null, sum(without_in_subagents_usd))::decimal(38, 12)
        as without_in_subagents_usd,
    if(bool_or(without_in_single_calls_usd is null), null, sum(without_in_single_calls_usd))::decimal(38, 12)
        as without_in_single_calls_usd,
    if(bool_or(kept_alive_usd is null), null, sum(kept_alive_usd))::decimal(38, 12) as kept_alive_usd,
    if(bool_or(hour_usd is null), null, sum(hour_usd))::decimal(38, 12) as hour_usd,
    sum(long_usd)::decimal(38, 12) as long_usd,
    sum(runaway_usd)::decimal(38, 12) as runaway_usd
from temp.savings_replay
group by all
order by all
