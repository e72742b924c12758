-- What DuckDB may take (null: not set by us), with how many threads, and what indexes take that cannot be given back.
select
    getvariable('memory_bytes') as memory_bytes,
    current_setting('threads') as threads,
    (select memory_usage_bytes from duckdb_memory() where tag = 'ART_INDEX') as index_bytes
