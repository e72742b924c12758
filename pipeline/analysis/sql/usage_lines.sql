-- Metered usage with a price on the chosen days, a line in each of the chosen dimensions.
select
    dimension,
    case dimension
        when 'all' then 'all'
        when 'model' then model
        when 'api_key' then api_key
        when 'workspace' then workspace
        when 'user_id' then user_id
        when 'project' then project
    end as key,
    usage_date,
    provider,
    model,
    input_tokens_no_cache,
    input_tokens_cache_write_5m,
    input_tokens_cache_write_1h,
    input_tokens_cache_read,
    output_tokens,
    web_search_count,
    request_count,
    source,
    estimated_cost_usd
from marts.token_usage_minutes
cross join (select unnest($dimensions) as dimension) as dimensions
where usage_date in (select unnest($days))
    and if(dimension in ('user_id', 'project'), source = 'sessions', is_in_force)
    and billing_mode = 'metered'
    and estimated_cost_usd is not null
