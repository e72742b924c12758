-- Drops the rows of a run, and those of all but the latest other runs.
delete from analysis.validation_results
where
    run_id = $$run_id
    or run_id not in (
        select run_id
        from analysis.validation_results
        where run_id <> $$run_id
        group by run_id
        order by max(finished_at) desc, run_id
        limit $$most_others
    )
