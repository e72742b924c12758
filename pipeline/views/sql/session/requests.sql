-- All requests of a session, in order.
select
    requested_at,
    model,
    is_sidechain,
    input_tokens_no_cache as input_tokens,
    input_tokens_cache_write_5m + input_tokens_cache_write_1h as written_tokens,
    input_tokens_cache_read as read_tokens,
    output_tokens,
    estimated_cost_usd as cost_usd,
    context_window,
    request_key
from marts.requests
where session_id = $$id
order by requested_at, request_key
