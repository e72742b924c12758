-- Requests with a stated total that differs from their stored tokens, largest difference first.
select
    source_format,
    requested_at,
    provider,
    model,
    session_id,
    request_key,
    input_tokens_no_cache,
    input_tokens_cache_write_5m,
    input_tokens_cache_write_1h,
    input_tokens_cache_read,
    output_tokens,
    total_tokens,
    stated_total_tokens,
    total_tokens - stated_total_tokens as tokens_too_many
from marts.requests
where total_tokens <> stated_total_tokens
order by abs(total_tokens - stated_total_tokens) desc, source_format, request_key
