{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

-- One row a day and kind of token that has no rate.
with usage as (
    select * from {{ ref('int_usage') }}
    where len(unpriced_kinds) > 0 and {{ in_scope('usage_date') }}
),

unpivoted as (
    {% for column, kind in rate_columns().items() -%}
    select
        usage_date, source, provider, model, model_version, usage_type, context_window, inference_geo, speed,
        '{{ kind }}' as token_kind,
        {{ column }} as tokens
    from usage
    where list_contains(unpriced_kinds, '{{ kind }}')
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    * exclude (tokens),
    sum(tokens)::bigint as tokens,
    count(*) as usage_rows
from unpivoted
group by all
