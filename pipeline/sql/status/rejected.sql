select
    reason,
    count(*) as rows,
    count(distinct file_sha256) as files,
    min(path) as example_path,
    arg_min(line, {path: path, line: line}) as example_line,
    arg_min(value, {path: path, line: line}) as example_value
from ingest.rejected_rows
group by reason
order by rows desc, reason
