-- One row per format: its requests, and those with the same tokens as a request of another kind of logger within five seconds.
-- A pair of a transcript and another logger counts for the format of the other logger.
with

requests as (
    select
        source_format,
        request_key,
        requested_at,
        total_tokens,
        epoch(requested_at)::bigint // 5 as bucket,
        case
            when source_format = 'tracker_events' then 'tracker'
            when source_format = 'litellm' then 'gateway'
            when source_format in ('otel_genai', 'langfuse') then 'span'
            else 'transcript'
        end as logger
    from marts.requests
),

others as (
    select
        *,
        unnest([bucket - 1, bucket, bucket + 1]) as near_bucket
    from requests
    where logger <> 'transcript' and total_tokens > 0
),

alike as (
    select distinct
        others.source_format,
        others.request_key,
        others.total_tokens
    from others
    inner join requests
        on
            others.total_tokens = requests.total_tokens
            and others.near_bucket = requests.bucket
            and others.logger <> requests.logger
            and abs(epoch_us(others.requested_at) - epoch_us(requests.requested_at)) <= 5000000
)

select
    requests.source_format,
    count(*) as rows_checked,
    count(alike.request_key) as requests_alike,
    coalesce(sum(alike.total_tokens), 0)::bigint as tokens_at_stake
from requests
left join alike on requests.source_format = alike.source_format and requests.request_key = alike.request_key
group by all
order by all
