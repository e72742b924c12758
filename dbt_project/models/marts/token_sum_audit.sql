{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

select
    usage_date,
    source,
    model,
    count(*) as rows,
    count(*) filter (where total_tokens <> {{ total_of() }}) as rows_off,
    sum({{ total_of() }})::bigint as parts,
    sum(total_tokens)::bigint as total
from {{ ref('token_usage_minutes') }}
where {{ in_scope('usage_date') }}
group by usage_date, source, model
order by usage_date, source, model
