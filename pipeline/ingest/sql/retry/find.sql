-- Files to retry: those with rejected rows and those that were not loaded, with all paths where they were seen.
select
    files.file_sha256,
    files.path,
    files.status,
    files.rows_rejected,
    list_distinct(list_append(
        (select coalesce(list(paths.path order by paths.path), []) from ingest.paths as paths
        where paths.file_sha256 = files.file_sha256),
        files.path
    )) as places
from ingest.files as files
where files.status in ('failed', 'unrecognised') or (files.status = 'loaded' and files.rows_rejected > 0)
order by files.path, files.file_sha256
