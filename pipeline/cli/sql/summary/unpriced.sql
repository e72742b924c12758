select
    model,
    sum(tokens) filter (where token_kind <> 'web_search')::bigint as tokens,
    coalesce(sum(tokens) filter (where token_kind = 'web_search'), 0)::bigint as web_searches,
    string_agg(distinct missing, ', ' order by missing) filter (where missing <> 'model') as missing,
    string_agg(distinct source, ', ' order by source) as sources,
    min(first_used) as first_used,
    max(last_used) as last_used
from marts.unpriced_usage
group by model
order by tokens desc nulls last, model
