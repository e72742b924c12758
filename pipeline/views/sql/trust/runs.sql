-- What the checks of each run found, the latest run first.
select
    run_id,
    max(finished_at) as finished_at,
    count(*) filter (where passed) as passed,
    count(*) filter (where not passed and not is_blocking) as warned,
    count(*) filter (where not passed and is_blocking) as stopped,
    count(*) filter (where passed is null) as without_rows,
    string_agg(distinct suite, ', ' order by suite) filter (where not passed) as suites
from analysis.validation_results
group by run_id
order by max(finished_at) desc, run_id
