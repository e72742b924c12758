-- Cost of each priced session that is on a bill, ascending.
select estimated_cost_usd::double as cost_usd
from marts.token_usage_sessions
where billing_mode = 'metered' and estimated_cost_usd is not null
order by cost_usd
