-- Columns of a raw table that hold text of a file, and not words of ours.
select name
from pragma_table_info(?)
where
    type = 'VARCHAR'
    and name not in ('file_sha256', 'source_format', 'logger', 'channel', 'stated')
