{# One row per token kind without a rate, with the fields that a rate in the overrides file needs. #}
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
    string_agg(distinct missing, ', ' order by missing) as missing,
    sum(tokens)::bigint as tokens,
    sum(usage_rows)::bigint as usage_rows,
    min(usage_date) as first_used,
    max(usage_date) as last_used
from {{ ref('int_unpriced_usage') }}
group by all
order by tokens desc, source, model, token_kind
