select
    source,
    min(usage_date) as first_day,
    max(usage_date) as last_day,
    sum(total_tokens)::bigint as total_tokens,
    sum(cost_usd) as cost_usd,
    sum(api_equivalent_cost_usd) as api_equivalent_cost_usd,
    count(*) filter (where cost_usd is null) as unpriced_rows
from marts.daily_usage
group by source
order by source
