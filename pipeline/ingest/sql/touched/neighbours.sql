-- Responses that may be the same call as one in scope: records with equal model and kinds, each at most five seconds
-- after the one before, are decided together. A response with several records may get the counts of one and the time of
-- another. Repeated until nothing is added.
insert or ignore into scope.responses
with records as (
    select
        requests.response_id,
        requests.requested_at,
        hash(
            coalesce(model_names.model, requests.model_version), requests.input_tokens_no_cache,
            requests.input_tokens_cache_write_5m, requests.input_tokens_cache_write_1h, requests.input_tokens_cache_read,
            requests.output_tokens
        ) as signature
    from raw.requests as requests
    left join raw.model_names as model_names on requests.model_version = model_names.model_version
    ${built}
),

touched as (
    select distinct signature
    from records
    where response_id in (select item from scope.responses)
),

alike as (
    select distinct
        response_id,
        signature
    from records
    where signature in (select signature from touched)
),

moments as (
    select distinct
        alike.signature,
        alike.response_id,
        records.requested_at
    from alike
    inner join records on alike.response_id = records.response_id
),

gaps as (
    select
        *,
        coalesce(requested_at - lag(requested_at) over in_time > interval 5 second, true) as opens
    from moments
    window in_time as (partition by signature order by requested_at, response_id)
),

runs as (
    select
        *,
        count(*) filter (where opens) over (partition by signature order by requested_at, response_id) as run
    from gaps
),

touched_runs as (
    select distinct
        signature,
        run
    from runs
    where response_id in (select item from scope.responses)
)

select distinct runs.response_id
from runs
inner join touched_runs on runs.signature = touched_runs.signature and runs.run = touched_runs.run
