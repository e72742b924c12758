-- Usage by primary model: of each listed session of the chosen segments, and (session_id null) of all
-- sessions of the segment together.
with members as (
    select
        segment,
        session_id
    from chosen
    where cost_usd is not null
),

lines as (
    select
        members.segment,
        sessions.*
    from marts.token_usage_sessions as sessions
    inner join members using (session_id)
),

typical as (
    select
        segment,
        cast(median(estimated_cost_usd) as double) as median_usd
    from lines
    group by segment
)

select
    segment,
    lines.session_id,
    coalesce(lines.provider, '') as provider,
    coalesce(lines.primary_model, '') as primary_model,
    cast(coalesce(sum(lines.input_tokens_no_cache), 0) as bigint) as input_no_cache,
    cast(coalesce(sum(lines.input_tokens_cache_write_5m), 0) as bigint) as cache_write_5m,
    cast(coalesce(sum(lines.input_tokens_cache_write_1h), 0) as bigint) as cache_write_1h,
    cast(coalesce(sum(lines.input_tokens_cache_read), 0) as bigint) as cache_read,
    cast(coalesce(sum(lines.output_tokens), 0) as bigint) as output,
    cast(coalesce(sum(lines.web_search_count), 0) as bigint) as web_search,
    if(bool_or(lines.request_count is null), null, cast(sum(lines.request_count) as bigint)) as requests,
    sum(lines.estimated_cost_usd) as cost_usd,
    coalesce(cast(max(lines.session_started_at) as date), date '1970-01-01') as last_day,
    any_value(typical.median_usd) as median_usd
from lines
inner join typical using (segment)
group by grouping sets (
    (segment, lines.session_id, lines.provider, lines.primary_model),
    (segment, lines.provider, lines.primary_model)
)
having lines.session_id is null or lines.session_id in (select unnest($sessions))
order by all
