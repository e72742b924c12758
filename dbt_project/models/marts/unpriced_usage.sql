{# One row a kind of token that has no rate: what a rate in the overrides file would have to name. #}
with usage as (
    select * from {{ ref('int_usage') }}
    where len(unpriced_kinds) > 0
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
    source,
    provider,
    model,
    model_version,
    usage_type,
    context_window,
    inference_geo,
    speed,
    token_kind,
    sum(tokens)::bigint as tokens,
    count(*) as usage_rows,
    min(usage_date) as first_used,
    max(usage_date) as last_used
from unpivoted
group by all
order by tokens desc, source, model, token_kind
