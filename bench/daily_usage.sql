-- Tokens a UTC day and model_version from raw.requests, each response once: the rule of int_requests, from ingest's rows.
-- A sidechain line whose response also stands on a main line is that call again. Of several rows of one request the one
-- with the greatest output stands, then the latest, then the greatest id; its day is that of the earliest row.
-- Most requests stand in one row, and only the others need that choice: 5 times faster than choosing for all. They are
-- told by the hash of their key, in an eighth of its memory: two keys of one hash are two that go the longer way.
-- Not materialized, or all columns of all rows would stand in memory at once.
with requests as not materialized (
    select *, hash(request_key) as key_hash from raw.requests
),

main_lines as (
    select
        response_id,
        arg_min(request_key, {seen: requested_at, request_key: request_key}) as main_key
    from requests
    where not is_sidechain and response_id in (select response_id from requests where is_sidechain)
    group by response_id
),

moved as (
    select distinct requests.request_key, main_lines.main_key
    from requests
    inner join main_lines using (response_id)
    where requests.is_sidechain and requests.request_key <> main_lines.main_key
),

several as (
    select key_hash from requests group by key_hash having count(*) > 1
    union
    select hash(request_key) from moved
    union
    select hash(main_key) from moved
),

alone as (
    select
        requested_at::date as usage_date,
        model_version,
        input_tokens_no_cache,
        input_tokens_cache_write_5m,
        input_tokens_cache_write_1h,
        input_tokens_cache_read,
        output_tokens
    from requests
    where key_hash not in (select key_hash from several)
),

keyed as (
    select
        requests.* exclude (request_key, key_hash),
        if(requests.is_sidechain, coalesce(main_lines.main_key, requests.request_key), requests.request_key)
            as request_key,
        {output: output_tokens, seen: kept_at, id: kept_id} as kept_order
    from requests
    semi join several using (key_hash)
    left join main_lines using (response_id)
),

chosen as (
    select
        min(requested_at)::date as usage_date,
        unnest(arg_max(
            {
                model_version: model_version,
                input_tokens_no_cache: input_tokens_no_cache,
                input_tokens_cache_write_5m: input_tokens_cache_write_5m,
                input_tokens_cache_write_1h: input_tokens_cache_write_1h,
                input_tokens_cache_read: input_tokens_cache_read,
                output_tokens: output_tokens
            },
            kept_order
        ))
    from keyed
    group by request_key
),

in_force as (
    select * from alone
    union all
    select * from chosen
)

select
    usage_date,
    model_version,
    count(*) as requests,
    sum(input_tokens_no_cache)::bigint as input_tokens_no_cache,
    sum(input_tokens_cache_write_5m)::bigint as input_tokens_cache_write_5m,
    sum(input_tokens_cache_write_1h)::bigint as input_tokens_cache_write_1h,
    sum(input_tokens_cache_read)::bigint as input_tokens_cache_read,
    sum(output_tokens)::bigint as output_tokens
from in_force
group by usage_date, model_version
order by usage_date, model_version
