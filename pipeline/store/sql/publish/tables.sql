select schema_name, table_name
from duckdb_tables()
where database_name = current_database() and schema_name in (select unnest(?::varchar[])) and not temporary
order by schema_name, table_name
