-- Rejected rows of loaded files, by reason; the text of a row stays in the private part of the home.
select
    rejected.reason,
    count(*) as rows,
    count(distinct rejected.file_sha256) as files,
    min(rejected.path) as example_path,
    arg_min(rejected.line, {path: rejected.path, line: rejected.line}) as example_line,
    arg_min(rejected.value, {path: rejected.path, line: rejected.line}) as example_value
from ingest.rejected_rows as rejected
inner join ingest.files as files on rejected.file_sha256 = files.file_sha256
where files.status = 'loaded'
group by rejected.reason
order by rows desc, rejected.reason
