insert into ingest.files
select
    unnest($$sha256::varchar[]),
    unnest($$path::varchar[]),
    $$format,
    unnest($$grain::varchar[]),
    unnest($$bytes::bigint[]),
    unnest($$first_usage_date::date[]),
    unnest($$last_usage_date::date[]),
    unnest($$rows_read::bigint[]),
    unnest($$rows_loaded::bigint[]),
    unnest($$rows_rejected::bigint[]),
    unnest($$rows_ignored::bigint[]),
    unnest($$rows_repeated::bigint[]),
    now()::timestamp,
    'loaded',
    ''
