-- Metered usage by model, of the chosen segments of one dimension on the chosen days: the components of a day's cost.
with chosen as (
    select
        usage.*,
        case $dimension
            when 'all' then 'all'
            when 'model' then usage.model
            when 'api_key' then usage.api_key
            when 'workspace' then usage.workspace
            when 'user_id' then usage.user_id
            when 'project' then usage.project
        end as key
    from marts.token_usage_minutes as usage
    where usage.usage_date in (select unnest($days))
        and if($dimension in ('user_id', 'project'), usage.source = 'sessions', usage.is_in_force)
        and usage.billing_mode = 'metered'
        and usage.estimated_cost_usd is not null
)

select
    key,
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
where key in (select unnest($keys))
group by all
order by all
