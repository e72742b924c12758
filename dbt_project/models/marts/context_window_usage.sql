{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

select
    usage_date,
    source,
    provider,
    model,
    context_window,
    {{ sum_kinds() }},
    sum(total_tokens)::bigint as total_tokens,
    if(bool_or(estimated_cost_usd is null), null, sum(estimated_cost_usd))::decimal(38, 12) as cost_usd,
    if(bool_or(surcharge_usd is null), null, sum(surcharge_usd))::decimal(38, 12) as surcharge_usd
from {{ ref('int_usage') }}
where {{ in_scope('usage_date') }}
group by usage_date, source, provider, model, context_window
order by usage_date, source, provider, model, context_window
