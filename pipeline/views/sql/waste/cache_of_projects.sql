-- Cache use by project: from daily charges of the logs, which do not hold what caching saved.
with summed as (
    select
        project,
        coalesce(sum(cost_usd) filter (where billing_mode = 'metered'), 0) as cost_usd,
        coalesce(sum(tokens) filter (where starts_with(token_kind, 'cache_read')), 0) as read_tokens,
        coalesce(sum(tokens) filter (where starts_with(token_kind, 'cache_write')), 0) as written_tokens,
        coalesce(sum(tokens) filter (where token_kind = 'cache_write_1h'), 0) as written_1h_tokens
    from marts.charges
    where ${filters}
    group by project
)

select
    project,
    cast(cost_usd as decimal(38, 12)) as cost_usd,
    cast(read_tokens as bigint) as read_tokens,
    cast(written_tokens as bigint) as written_tokens,
    cast(written_1h_tokens / nullif(written_tokens, 0) as double) as share_1h,
    cast(read_tokens / nullif(written_tokens, 0) as double) as reads_per_write
from summed
order by reads_per_write nulls last, cost_usd desc, project
