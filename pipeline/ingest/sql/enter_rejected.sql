insert into ingest.rejected_rows
select
    unnest(?::varchar[]) as file_sha256,
    unnest(?::varchar[]) as path,
    unnest(?::bigint[]) as line,
    unnest(?::bigint[]) as byte_offset,
    unnest(?::varchar[]) as reason,
    unnest(?::varchar[]) as column_name,
    unnest(?::varchar[]) as value
