-- Metered usage in force by month, key and model.
select
    cast(date_trunc('month', usage.usage_date) as date) as month,
    usage.provider,
    usage.workspace,
    usage.api_key,
    usage.model,
    cast(sum(usage.input_tokens_no_cache) as bigint) as input_no_cache,
    cast(sum(usage.input_tokens_cache_write_5m) as bigint) as cache_write_5m,
    cast(sum(usage.input_tokens_cache_write_1h) as bigint) as cache_write_1h,
    cast(sum(usage.input_tokens_cache_read) as bigint) as cache_read,
    cast(sum(usage.output_tokens) as bigint) as output,
    cast(coalesce(sum(usage.web_search_count), 0) as bigint) as web_search,
    if(bool_or(usage.request_count is null), null, cast(sum(usage.request_count) as bigint)) as requests,
    cast(coalesce(sum(usage.estimated_cost_usd), 0) as decimal(38, 12)) as cost_usd,
    cast(count(*) filter (where usage.estimated_cost_usd is null) as bigint) as unpriced_rows,
    bool_or(usage.source = 'console') as from_console,
    bool_or(usage.source = 'sessions') as from_sessions,
    min(usage.usage_date) as first_day,
    max(usage.usage_date) as last_day
from marts.token_usage_minutes as usage
where usage.is_in_force and usage.billing_mode = 'metered'
group by all
order by all
