-- Grains that occur in more than one row, contain a null, or have an unknown source.
select
    source,
    provider,
    usage_minute,
    bucket_seconds,
    model,
    model_version,
    api_key,
    workspace,
    user_id,
    project,
    usage_type,
    context_window,
    inference_geo,
    speed,
    count(*) as copies,
    sum(total_tokens)::bigint as total_tokens
from marts.token_usage_minutes
group by all
having
    copies > 1
    or source is null
    or source not in ('console', 'sessions')
    or provider is null
    or usage_minute is null
    or bucket_seconds is null
    or model is null
    or model_version is null
    or api_key is null
    or workspace is null
    or user_id is null
    or project is null
    or usage_type is null
    or context_window is null
    or inference_geo is null
    or speed is null
order by all
