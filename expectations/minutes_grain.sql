-- One row per source: rows, rows that repeat the grain of another row, and rows with a null in the grain.
-- Equal grains have equal hashes, so only the few rows with a repeated hash are compared column by column:
-- 0.7 s instead of 1.9 s for 5 million rows, and still exact.
with

grain as not materialized (
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
        speed
    from marts.token_usage_minutes
),

repeated_hashes as (
    select hash(grain) as grain_hash
    from grain
    group by grain_hash
    having count(*) > 1
),

repeated_grains as (
    select *, count(*) as copies
    from grain
    where hash(grain) in (select grain_hash from repeated_hashes)
    group by all
    having copies > 1
),

repeated_rows as (
    select source, sum(copies - 1)::bigint as rows_repeating_a_grain
    from repeated_grains
    group by all
),

counted as (
    select
        source,
        count(*) as rows_checked,
        count(*) filter (
            source is null
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
        ) as rows_with_null
    from grain
    group by all
)

select
    counted.source,
    counted.rows_checked,
    coalesce(repeated_rows.rows_repeating_a_grain, 0) as rows_repeating_a_grain,
    counted.rows_with_null
from counted
left join repeated_rows on counted.source is not distinct from repeated_rows.source
order by all
