select schema_name, table_name, null as column_name, comment
from duckdb_tables()
where database_name = current_database() and schema_name in (select unnest($$1::varchar[])) and comment is not null
union all
select columns.schema_name, columns.table_name, columns.column_name, columns.comment
from duckdb_columns() as columns
inner join duckdb_tables() as tables
    on columns.database_name = tables.database_name
    and columns.schema_name = tables.schema_name
    and columns.table_name = tables.table_name
where columns.database_name = current_database()
    and columns.schema_name in (select unnest($$1::varchar[]))
    and columns.comment is not null
order by 1, 2, 3
