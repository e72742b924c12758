-- The costliest segments of one dimension: observations with a value, and what was left out.
select
    key,
    case when $is_cost then count(cost_usd) else count(total_tokens) end as n,
    count(*) as observations,
    sum(cost_usd) as cost_usd,
    cast(sum(total_tokens) as bigint) as total_tokens,
    cast(sum(unpriced_rows) as bigint) as unpriced_rows,
    bool_or(from_console) as from_console,
    bool_or(from_sessions) as from_sessions
from observations
where key is not null and key <> ''
group by key
order by cost_usd desc nulls last, total_tokens desc nulls last, key
limit $segment_limit
