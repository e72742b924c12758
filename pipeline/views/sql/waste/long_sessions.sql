-- Sessions and keys whose requests paid the long-context surcharge.
select
    session_id,
    api_key,
    user_id,
    model,
    count(*) as requests,
    max(total_tokens - output_tokens) as most_input_tokens,
    cast(sum(surcharge_usd) as decimal(38, 12)) as surcharge_usd,
    cast(sum(estimated_cost_usd) as decimal(38, 12)) as cost_usd,
    max(requested_at) as last_at
from marts.requests
where surcharge_usd > 0 and billing_mode = 'metered' and ${filters}
group by all
order by surcharge_usd desc, session_id, model
limit 1000
