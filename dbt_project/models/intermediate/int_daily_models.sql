{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

-- Sums by day and model, which model_usage_stats adds up over time.
select
    usage_date,
    source,
    provider,
    model,
    -- rows of marts.token_usage_minutes: records that agree in its grain are one row there
    count(distinct ( -- noqa: ST08, LT06
        usage_minute, bucket_seconds, model_version, api_key,
        workspace, user_id, project, usage_type,
        context_window, inference_geo, speed
    )) as usage_rows,
    sum(request_count)::bigint as request_count,
    sum(total_tokens) filter (where request_count is not null)::bigint as tokens_of_requests,
    {{ sum_kinds() }},
    sum(total_tokens)::bigint as total_tokens,
    sum(estimated_cost_usd)::decimal(38, 12) as priced_cost_usd,
    count(*) filter (where estimated_cost_usd is null) as unpriced_rows
from {{ ref('int_usage') }}
where {{ in_scope('usage_date') }}
group by usage_date, source, provider, model
