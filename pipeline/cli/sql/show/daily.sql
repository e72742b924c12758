-- Tokens and cost by day and source
-- minor: unpriced_rows, cache_read_tokens
select
    usage_date,
    source,
    sum(total_tokens)::bigint as total_tokens,
    sum(input_tokens_cache_read)::bigint as cache_read_tokens,
    round(sum(input_tokens_cache_read) * 100.0 / nullif(sum(total_tokens), 0), 2) as cache_read_percent,
    sum(request_count)::bigint as requests,
    sum(sessions)::bigint as sessions,
    sum(cost_usd) as cost_usd,
    count(*) filter (where cost_usd is null) as unpriced_rows
from marts.daily_usage
group by usage_date, source
order by usage_date desc, source
