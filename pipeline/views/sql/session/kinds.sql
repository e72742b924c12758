-- Tokens of a session by kind.
with kinds as (
    select
        unnest([
            'input, not cached', 'written to the cache for 5 minutes', 'written to the cache for an hour',
            'read from the cache', 'output'
        ]) as token_kind,
        unnest([
            input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read,
            output_tokens
        ]) as tokens
    from marts.token_usage_sessions
    where session_id = $$id
)

select
    token_kind,
    tokens,
    cast(tokens / nullif(sum(tokens) over (), 0) as double) as share_of_tokens
from kinds
order by tokens desc, token_kind
