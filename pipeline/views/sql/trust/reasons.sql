-- Why rows were rejected, by format: the most frequent reason first.
select
    nullif(files.format, '') as format,
    regexp_replace(rejected.reason, ' \(\d+ tokens?\)$$', '') as reason,
    nullif(rejected.column_name, '') as column_name,
    count(*) as lines,
    count(distinct rejected.file_sha256) as files
from ingest.rejected_rows as rejected
left join ingest.files as files on rejected.file_sha256 = files.file_sha256
where $$file = '' or rejected.file_sha256 = $$file
group by all
order by lines desc, format, reason, column_name
