-- Requests and sessions of the logs over time.
select
    cast(date_trunc('${grain}', usage_date) as date) as period,
    cast(sum(request_count) as bigint) as requests,
    cast(sum(sessions) as bigint) as sessions,
    cast(sum(total_tokens) as bigint) as tokens,
    cast(count(distinct usage_date) as bigint) as days
from marts.daily_usage
where source = 'sessions' and ${filters}
group by all
order by period
