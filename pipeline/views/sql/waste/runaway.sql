-- Sessions that keep sending more input, each time within five minutes, and get almost nothing back.
with output_counts as (
    -- some logs of Claude Code hold only the first count of a streamed output, and cannot show it
    select coalesce(count(*) filter (where output_tokens > ${output_tokens}) * 2 >= count(*), true) as are_final
    from marts.requests
    where source_format = 'claude_code' and total_tokens > 0
),

growing as (
    select *
    from marts.request_replays
    where is_growing and output_tokens <= ${output_tokens} and (source_format <> 'claude_code' or (select are_final from output_counts))
)

select
    session_id,
    api_key,
    model,
    count(*) as requests,
    cast(sum(estimated_cost_usd) as decimal(38, 12)) as cost_usd,
    cast(sum(input_tokens) as bigint) as input_tokens,
    cast(sum(output_tokens) as bigint) as output_tokens,
    min(requested_at) as first_at
from growing
where session_id <> '' and ${filters}
group by session_id, api_key, model
having count(*) > ${requests}
order by cost_usd desc nulls last, session_id
limit 1000
