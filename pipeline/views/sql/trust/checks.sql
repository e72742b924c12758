-- What the checks of the latest run found, and since when: failures first.
with results as (
    select
        *,
        finished_at = max(finished_at) over () as is_latest
    from analysis.validation_results
),

latest as (
    select * from results where is_latest
),

changes as (
    select
        latest.suite,
        latest.expectation,
        max(results.finished_at) as changed_at
    from latest
    inner join results
        on
            latest.suite = results.suite
            and latest.expectation = results.expectation
            and latest.passed is distinct from results.passed
    group by all
),

since as (
    select
        results.suite,
        results.expectation,
        min(results.finished_at) as since
    from results
    left join changes on results.suite = changes.suite and results.expectation = changes.expectation
    where changes.changed_at is null or results.finished_at > changes.changed_at
    group by all
)

select
    latest.suite,
    latest.expectation,
    latest.observed,
    latest.passed,
    latest.is_blocking,
    since.since,
    latest.finished_at
from latest
left join since on latest.suite = since.suite and latest.expectation = since.expectation
order by latest.passed nulls last, latest.is_blocking desc, latest.suite, latest.expectation
