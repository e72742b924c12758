{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

select
    ---------- grain
    source,
    provider,
    usage_minute,
    bucket_seconds,
    model,
    model_version,
    api_key,
    workspace,
    user_id,
    project,
    usage_type,
    context_window,
    inference_geo,
    speed,

    ---------- numerics
    usage_date,
    {{ sum_kinds() }},
    {{ sum_parts() }},
    sum(web_search_count)::bigint as web_search_count,
    sum(total_tokens)::bigint as total_tokens,
    sum(request_count)::bigint as request_count,
    if(bool_or(estimated_cost_usd is null), null, sum(estimated_cost_usd))::decimal(38, 12) as estimated_cost_usd,
    bool_or(cache_split_assumed) as cache_split_assumed,
    bool_or(spans_midnight) as spans_midnight,
    billing_mode,
    is_in_force
from {{ ref('int_usage') }}
where {{ in_scope('usage_date') }}
group by all
order by source, usage_minute, bucket_seconds, provider, model, api_key, workspace
