{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{# Coarser rows with less than the finer rows within them: older exports, whose rest was set to zero. #}
select
    'console_usage' as source_format,
    usage_date,
    bucket_seconds,
    model,
    api_key,
    workspace,
    exported_tokens,
    null::decimal(38, 12) as exported_usd,
    file_sha256
from {{ ref('int_console_usage') }}
where rest_was_negative and is_in_force and {{ in_scope('usage_date') }}
union all
select
    'console_cost' as source_format,
    usage_date,
    86400 as bucket_seconds,
    model,
    api_key,
    workspace,
    null as exported_tokens,
    cost_usd as exported_usd,
    file_sha256
from {{ ref('int_billed_costs') }}
where rest_was_negative and is_in_force and {{ in_scope('usage_date') }}
order by all
