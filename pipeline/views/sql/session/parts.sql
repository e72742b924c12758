-- A session's requests by model, and by whether a subagent made them.
select
    model,
    if(is_sidechain, 'a subagent', 'the session itself') as made_by,
    count(*) as requests,
    cast(sum(estimated_cost_usd) as decimal(38, 12)) as cost_usd,
    cast(sum(total_tokens) as bigint) as tokens,
    cast(sum(output_tokens) as bigint) as output_tokens,
    cast(sum(input_tokens_cache_read) / nullif(sum(total_tokens - output_tokens), 0) as double) as cache_read_share
from marts.requests
where session_id = $$id
group by all
order by cost_usd desc nulls last, tokens desc, model, made_by
