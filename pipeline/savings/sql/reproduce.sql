with replayed as (
-- ${title}
-- Observed saving from ${first_day} to ${last_day} UTC after other recommendations on the same requests, the standalone
-- saving, and both scaled to 30 days. (A command line would take a text that begins with -- for an option.)
${replay}
),

of_subject as (
    select
        *,
        ${saving} as saved_usd,
        ${taken} as is_taken
    from replayed
    where project = ${project} and ${touched}
),

summed as (
    select
        coalesce(sum(saved_usd), 0)::decimal(38, 12) as standalone_usd,
        coalesce(sum(saved_usd) filter (where not is_taken), 0)::decimal(38, 12) as left_usd
    from of_subject
)

select
    greatest(0, least(left_usd, standalone_usd))::decimal(38, 12) as observed_saving_usd,
    standalone_usd as observed_standalone_usd,
    (observed_saving_usd * 30 / ${window_days})::decimal(38, 6) as saving_usd_per_month,
    (standalone_usd * 30 / ${window_days})::decimal(38, 6) as standalone_usd_per_month
from summed
