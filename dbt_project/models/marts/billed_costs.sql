{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

select
    usage_date,
    provider,
    model,
    api_key,
    workspace,
    usage_type,
    context_window,
    inference_geo,
    speed,
    cost_type,
    token_kind,
    sum(cost_usd)::decimal(38, 12) as cost_usd,
    sum(list_price_usd)::decimal(38, 12) as list_price_usd,
    sum(cost_rows)::bigint as cost_rows,
    sum(rounding_tolerance_usd)::decimal(38, 12) as rounding_tolerance_usd
from {{ ref('int_billed_costs') }}
where is_in_force and cost_rows > 0 and {{ in_scope('usage_date') }}
group by all
order by usage_date, model, workspace, api_key, token_kind, usage_type, context_window
