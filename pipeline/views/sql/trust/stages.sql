-- What each stage of the last runs cost. When a run ended is known from its checks.
with moments as (
    select run_id, max(finished_at) as finished_at
    from analysis.validation_results
    group by run_id
),

runs as (
    select stages.run_id, moments.finished_at
    from (select distinct run_id from ingest.run_stages) as stages
    left join moments on stages.run_id = moments.run_id
    order by moments.finished_at desc nulls last, stages.run_id
    limit $$most
)

select
    runs.finished_at,
    runs.run_id,
    stages.stage,
    stages.seconds,
    stages.cpu_seconds,
    stages.peak_mb,
    stages.rows
from runs
inner join ingest.run_stages as stages on runs.run_id = stages.run_id
order by runs.finished_at desc nulls last, runs.run_id, stages.seconds desc, stages.stage
