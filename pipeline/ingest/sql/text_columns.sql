-- Columns of a raw table with text from a file, as opposed to our own constants.
select name
from pragma_table_info(?)
where
    type = 'VARCHAR'
    and name not in ('file_sha256', 'source_format', 'logger', 'channel', 'stated')
