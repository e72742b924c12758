-- Rejected rows with their place, of all files or of one.
select
    path,
    line,
    reason,
    column_name,
    value,
    byte_offset
from ingest.rejected_rows
where $$file = '' or file_sha256 = $$file
order by path, line, byte_offset, reason
