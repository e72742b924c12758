-- Cost by weekday and hour, UTC: of usage whose hour is known.
select
    cast(isodow(usage_minute) as integer) as weekday,
    cast(hour(usage_minute) as integer) as hour,
    cast(coalesce(sum(estimated_cost_usd) filter (where billing_mode = 'metered'), 0) as decimal(38, 12)) as cost_usd,
    cast(sum(total_tokens) as bigint) as tokens
from marts.token_usage_minutes
where bucket_seconds <= 3600 and ${filters}
group by all
order by weekday, hour
