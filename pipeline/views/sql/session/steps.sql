-- The requests of a session in order; of more than 200, groups of consecutive ones.
with requests as (
    select
        *,
        row_number() over (order by requested_at, request_key) as place,
        count(*) over () as of_all
    from marts.requests
    where session_id = $$id
),

steps as (
    select
        min(place) as first_request,
        min(requested_at) as requested_at,
        count(*) as requests,
        sum(input_tokens_no_cache) as input_tokens,
        sum(input_tokens_cache_write_5m + input_tokens_cache_write_1h) as written_tokens,
        sum(input_tokens_cache_read) as read_tokens,
        sum(output_tokens) as output_tokens,
        sum(estimated_cost_usd) as cost_usd
    from requests
    group by (place - 1) // cast(ceil(of_all / 200.0) as bigint)
)

select
    first_request,
    requested_at,
    requests,
    cast(input_tokens as bigint) as input_tokens,
    cast(written_tokens as bigint) as written_tokens,
    cast(read_tokens as bigint) as read_tokens,
    cast(output_tokens as bigint) as output_tokens,
    cast(cost_usd as decimal(38, 12)) as cost_usd,
    cast(sum(cost_usd) over (order by first_request rows between unbounded preceding and current row) as decimal(38, 12)) as upto_usd
from steps
order by first_request
