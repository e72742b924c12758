-- Rejected rows with their place, of all files or of one.
select
    path,
    line,
    reason,
    nullif(column_name, '') as column_name,
    if(column_name = '', null, value) as value,
    byte_offset
from ingest.rejected_rows
where $$file = '' or file_sha256 = $$file
order by path, line, byte_offset, reason
