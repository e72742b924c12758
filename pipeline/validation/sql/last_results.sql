-- What the checks of the latest run found, without its time.
select list((suite, expectation, observed, passed, is_blocking) order by suite, expectation)
from analysis.validation_results
where run_id = (
    select run_id
    from analysis.validation_results
    order by finished_at desc, run_id
    limit 1
)
