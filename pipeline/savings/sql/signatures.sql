-- Savings of each kind, summed over the requests of a key and model that are affected by the same kinds.
select
    provider, model, api_key, workspace, project,
    in_cache_policy, in_cache_writes_never_read, in_lost_cache, in_long_context_surcharge, in_runaway_sessions,
    count(*) as requests,
    sum(cost_usd)::decimal(38, 12) as cost_usd,
    if(bool_or(none_usd is null), null, sum(none_usd))::decimal(38, 12) as none_usd,
    if(bool_or(only_5m_usd is null), null, sum(only_5m_usd))::decimal(38, 12) as only_5m_usd,
    if(bool_or(only_1h_usd is null), null, sum(only_1h_usd))::decimal(38, 12) as only_1h_usd,
    sum(unread_usd)::decimal(38, 12) as unread_usd,
    sum(lost_usd)::decimal(38, 12) as lost_usd,
    sum(long_usd)::decimal(38, 12) as long_usd,
    sum(runaway_usd)::decimal(38, 12) as runaway_usd
from temp.savings_replay
group by all
order by all
