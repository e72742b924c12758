-- Usage of the chosen segments by day and model: the components of a day's cost.
select
    segment,
    usage_date,
    provider,
    model,
    cast(sum(input_tokens_no_cache) as bigint) as input_no_cache,
    cast(sum(input_tokens_cache_write_5m) as bigint) as cache_write_5m,
    cast(sum(input_tokens_cache_write_1h) as bigint) as cache_write_1h,
    cast(sum(input_tokens_cache_read) as bigint) as cache_read,
    cast(sum(output_tokens) as bigint) as output,
    cast(coalesce(sum(web_search_count), 0) as bigint) as web_search,
    if(bool_or(request_count is null), null, cast(sum(request_count) as bigint)) as requests,
    bool_or(source = 'console') as from_console,
    sum(estimated_cost_usd) as cost_usd
from chosen
group by all
order by all
