-- The costliest segments of one dimension: observations with a value, and what was left out.
select
    key,
    count(case when $is_cost then cost_nano_usd else total_tokens end) as n,
    count(*) as observations,
    sum(cost_nano_usd) as cost_nano_usd,
    sum(total_tokens) as total_tokens,
    cast(sum(unpriced_rows) as bigint) as unpriced_rows,
    bool_or(from_console) as from_console,
    bool_or(from_sessions) as from_sessions
from observations
where key is not null and key <> ''
group by key
order by cost_nano_usd desc nulls last, total_tokens desc nulls last, key
limit $segment_limit
