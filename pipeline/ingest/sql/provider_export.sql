-- The time range and coverage of a file of API pages (or its CSV export). A pull has all usage of its buckets at the
-- time of the pull; for pages saved by hand, only the buckets are known.
insert or replace into raw.exports by name
with stored as (${rows}),

buckets as (
    select
        min(moment_or_null(starts)) as first_start,
        max(moment_or_null(ends)) as last_end
    from ${buckets}
)

select
    $$sha256 as file_sha256,
    coalesce(moment_or_null($$pulled_at), stored.reaches_to, buckets.last_end) as reaches_to,
    $$provider as provider,
    $$side as side,
    $$pulled_at is not null as is_pull,
    coalesce(moment_or_null($$covers_from), buckets.first_start) as covers_from,
    -- a pull of an unfinished day covers it up to the time of the pull
    if(
        is_pull,
        greatest(least(moment_or_null($$covers_to), moment_or_null($$pulled_at)), stored.reaches_to),
        coalesce(moment_or_null($$covers_to), buckets.last_end)
    ) as covers_to,
    coalesce($$bucket_seconds::integer, stored.bucket_seconds) as bucket_seconds,
    coalesce(stored.stated, array_to_string(list_sort(${grouped_by}), ',')) as stated
from stored
cross join buckets
where coalesce(moment_or_null($$pulled_at), stored.reaches_to, buckets.last_end) is not null
