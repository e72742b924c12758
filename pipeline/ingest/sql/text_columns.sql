-- Columns of a raw table that hold text of a file, and not words of ours.
select column_name
from duckdb_columns()
where
    schema_name = ?
    and table_name = ?
    and data_type = 'VARCHAR'
    and column_name not in ('file_sha256', 'source_format', 'logger', 'channel', 'stated')
