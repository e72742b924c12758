-- The temporary view shared by the suites on the five kinds: all rows of the four marts that have them.
select
    'marts.token_usage_minutes' as mart,
    source,
    usage_date,
    provider,
    model,
    api_key,
    workspace,
    null as session_id,
    input_tokens_no_cache,
    input_tokens_cache_write_5m,
    input_tokens_cache_write_1h,
    input_tokens_cache_read,
    output_tokens,
    input_tokens_cache_write_5m + input_tokens_cache_write_1h as cache_creation_tokens,
    web_search_count,
    total_tokens
from marts.token_usage_minutes

union all

select
    'marts.token_usage_sessions' as mart,
    'sessions' as source,
    session_started_at::date as usage_date,
    provider,
    primary_model as model,
    api_key,
    workspace,
    session_id,
    input_tokens_no_cache,
    input_tokens_cache_write_5m,
    input_tokens_cache_write_1h,
    input_tokens_cache_read,
    output_tokens,
    cache_creation_tokens,
    web_search_count,
    total_tokens
from marts.token_usage_sessions

union all

select
    'marts.requests' as mart,
    'sessions' as source,
    requested_at::date as usage_date,
    provider,
    model,
    api_key,
    workspace,
    session_id,
    input_tokens_no_cache,
    input_tokens_cache_write_5m,
    input_tokens_cache_write_1h,
    input_tokens_cache_read,
    output_tokens,
    input_tokens_cache_write_5m + input_tokens_cache_write_1h as cache_creation_tokens,
    web_search_count,
    total_tokens
from marts.requests

union all

select
    'marts.daily_usage' as mart,
    source,
    usage_date,
    provider,
    model,
    api_key,
    workspace,
    null as session_id,
    input_tokens_no_cache,
    input_tokens_cache_write_5m,
    input_tokens_cache_write_1h,
    input_tokens_cache_read,
    output_tokens,
    input_tokens_cache_write_5m + input_tokens_cache_write_1h as cache_creation_tokens,
    0 as web_search_count,
    total_tokens
from marts.daily_usage
