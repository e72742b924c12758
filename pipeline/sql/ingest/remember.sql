insert or replace into ingest.paths
select
    unnest($$1::varchar[]),
    unnest($$2::varchar[]),
    unnest($$3::bigint[]),
    unnest($$4::bigint[]),
    unnest($$5::bigint[])
