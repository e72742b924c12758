with daily as (
    select * from {{ ref('int_daily_models') }}
),

by_model as (
    select
        source,
        provider,
        model,
        sum(usage_rows)::bigint as usage_rows,
        sum(request_count)::bigint as request_count,
        sum(total_tokens)::bigint as total_tokens,
        sum(tokens_of_requests)::bigint as tokens_of_requests,
        {{ sum_kinds() }},
        if(sum(unpriced_rows) > 0, null, sum(priced_cost_usd))::decimal(38, 12) as total_cost_usd,
        sum(priced_cost_usd) as priced_cost_usd,
        min(usage_date) as first_used,
        max(usage_date) as last_used
    from daily
    group by source, provider, model
)

select
    source,
    provider,
    model,
    usage_rows,
    request_count,
    total_tokens,
    tokens_of_requests::double / nullif(request_count, 0) as avg_tokens_per_request,
    {{ kind_columns() }},
    total_tokens::double / nullif(sum(total_tokens) over of_source, 0) as share_of_tokens,
    (total_tokens - input_tokens_cache_read)::double
    / nullif(sum(total_tokens - input_tokens_cache_read) over of_source, 0) as share_of_non_cache_tokens,
    total_cost_usd,
    priced_cost_usd::double / nullif(sum(priced_cost_usd) over of_source, 0)::double as share_of_cost,
    first_used,
    last_used
from by_model
window of_source as (partition by source)
order by source, total_tokens desc, provider, model
