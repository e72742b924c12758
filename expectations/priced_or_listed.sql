-- One row per source: rows, rows without a cost, and how many of these marts.unpriced_usage does not list.
with

minutes as not materialized (
    select * from marts.token_usage_minutes
),

listed as (
    select distinct
        source, provider, model, model_version, usage_type, context_window, inference_geo, speed, first_used, last_used
    from marts.unpriced_usage
),

unlisted as (
    select minutes.source, count(*) as rows_silently_unpriced
    from minutes
    anti join listed
        on minutes.source = listed.source
        and minutes.provider = listed.provider
        and minutes.model = listed.model
        and minutes.model_version = listed.model_version
        and minutes.usage_type = listed.usage_type
        and minutes.context_window = listed.context_window
        and minutes.inference_geo = listed.inference_geo
        and minutes.speed = listed.speed
        and minutes.usage_date between listed.first_used and listed.last_used
    where minutes.estimated_cost_usd is null
    group by all
),

counted as (
    select
        source,
        count(*) as rows_checked,
        count(*) filter (estimated_cost_usd is null) as rows_unpriced
    from minutes
    group by all
)

select
    counted.source,
    counted.rows_checked,
    counted.rows_unpriced,
    coalesce(unlisted.rows_silently_unpriced, 0) as rows_silently_unpriced
from counted
left join unlisted on counted.source is not distinct from unlisted.source
order by all
