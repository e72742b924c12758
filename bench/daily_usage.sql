-- Tokens a UTC day and model_version from raw.requests, each response once: the rule of int_requests, from ingest's rows.
-- A sidechain line whose response also stands on a main line is that call again. Of several rows of one request the one
-- with the greatest output stands, then the latest, then the greatest id; its day is that of the earliest row.
with requests as (
    select * from raw.requests
),

main_lines as (
    select
        response_id,
        arg_min(request_key, {seen: requested_at, request_key: request_key}) as request_key
    from requests
    where not is_sidechain
    group by response_id
),

keyed as (
    select
        requests.* exclude (request_key),
        if(requests.is_sidechain, coalesce(main_lines.request_key, requests.request_key), requests.request_key)
            as request_key,
        {output: output_tokens, seen: kept_at, id: kept_id} as kept_order
    from requests
    left join main_lines using (response_id)
),

deduplicated as (
    select
        min(requested_at)::date as usage_date,
        arg_max(
            {
                model_version: model_version,
                no_cache: input_tokens_no_cache,
                write_5m: input_tokens_cache_write_5m,
                write_1h: input_tokens_cache_write_1h,
                cache_read: input_tokens_cache_read,
                output: output_tokens
            },
            kept_order
        ) as kept
    from keyed
    group by request_key
)

select
    usage_date,
    kept.model_version as model_version,
    count(*) as requests,
    sum(kept.no_cache)::bigint as input_tokens_no_cache,
    sum(kept.write_5m)::bigint as input_tokens_cache_write_5m,
    sum(kept.write_1h)::bigint as input_tokens_cache_write_1h,
    sum(kept.cache_read)::bigint as input_tokens_cache_read,
    sum(kept.output)::bigint as output_tokens
from deduplicated
group by usage_date, kept.model_version
order by usage_date, model_version
