{{ config(materialized='scoped', scope_column='requested_at::date', scope_of='days') }}

select
    ---------- ids
    request_key,
    session_id,
    source_format,
    usage_at as requested_at,

    ---------- dimensions
    provider,
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
    is_sidechain,

    ---------- numerics
    {{ kind_columns() }},
    {{ part_columns() }},
    web_search_count,
    total_tokens,
    stated_total_tokens,
    estimated_cost_usd,
    surcharge_usd,
    priced_context_window,
    billing_mode
from {{ ref('int_usage') }}
where record_kind = 'request' and {{ in_scope('usage_date') }}
order by requested_at, request_key
