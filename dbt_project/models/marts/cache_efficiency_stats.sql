{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

with summed as (
    select
        usage_date,
        source,
        provider,
        model,
        user_id,
        api_key,
        workspace,
        sum(input_tokens_cache_read)::bigint as total_cache_reads,
        sum(input_tokens_cache_write_5m)::bigint as total_cache_writes_5m,
        sum(input_tokens_cache_write_1h)::bigint as total_cache_writes_1h,
        sum(total_tokens - input_tokens_cache_read)::bigint as total_new_tokens,
        sum(total_tokens)::bigint as total_tokens,
        sum(total_tokens - output_tokens)::bigint as total_input_tokens,
        if(bool_or(estimated_cost_usd is null), null, sum(estimated_cost_usd))::decimal(38, 12) as cost_usd,
        if(bool_or(cost_without_cache_usd is null), null, sum(cost_without_cache_usd))::decimal(38, 12)
            as cost_without_cache_usd
    from {{ ref('int_usage') }}
    where {{ in_scope('usage_date') }}
    group by all
)

select
    usage_date,
    source,
    provider,
    model,
    user_id,
    api_key,
    workspace,
    total_cache_reads,
    total_cache_writes_5m,
    total_cache_writes_1h,
    total_new_tokens,
    total_tokens,
    total_cache_reads * 100.0::double / nullif(total_tokens, 0) as cache_hit_percentage,
    total_cache_reads::double / nullif(total_input_tokens, 0) as cache_read_share_of_input,
    total_cache_reads::double / nullif(total_cache_writes_5m + total_cache_writes_1h, 0) as reads_per_write,
    cost_usd,
    cost_without_cache_usd,
    (cost_without_cache_usd - cost_usd)::decimal(38, 12) as cache_savings_usd
from summed
order by usage_date, source, provider, model, user_id, api_key, workspace
