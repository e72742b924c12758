-- Usage without a rate: what the rate card lacks, the most tokens first.
select
    provider,
    model,
    token_kind,
    missing,
    source,
    cast(sum(tokens) as bigint) as tokens,
    cast(sum(usage_rows) as bigint) as usage_rows,
    min(first_used) as first_used,
    max(last_used) as last_used
from marts.unpriced_usage
where ${filters}
group by all
order by tokens desc, provider, model, token_kind, missing, source
