{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

select
    usage_date,
    source,
    provider,
    model,
    api_key,
    workspace,
    {{ sum_kinds() }},
    sum(total_tokens)::bigint as total_tokens,
    if(source = 'sessions', count(distinct nullif(session_id, '')), null)::bigint as sessions,
    sum(request_count)::bigint as request_count,
    if(bool_or(estimated_cost_usd is null), null, sum(estimated_cost_usd))::decimal(38, 12) as cost_usd,
    coalesce(sum(estimated_cost_usd) filter (where billing_mode = 'subscription'), 0)::decimal(38, 12)
        as api_equivalent_cost_usd,
    if(bool_or(is_in_force) = bool_and(is_in_force), bool_or(is_in_force), null) as is_in_force
from {{ ref('int_usage') }}
where {{ in_scope('usage_date') }}
group by usage_date, source, provider, model, api_key, workspace
order by usage_date, source, provider, model, api_key, workspace
