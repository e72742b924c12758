-- How the paying keys of the logs are known.
with cells as (select * from (${cells}) where ${filters})

select
    scope,
    api_key,
    workspace,
    min(usage_date) as first_day,
    max(usage_date) as last_day,
    coalesce(sum(billed_cost_usd), 0) as billed_usd,
    coalesce(sum(logged_cost_usd), 0) as logged_usd,
    coalesce(sum(logged_tokens), 0)::bigint as logged_tokens
from cells
where scope <> ''
group by scope, api_key, workspace
order by
    list_position(['declared', 'inferred', 'stated', 'collapsed', 'unknown', 'outside'], scope), billed_usd desc, api_key, workspace
