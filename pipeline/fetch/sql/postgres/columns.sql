-- PostgreSQL: which columns a table has, of which type, and what tells it from another table of the same name.
select
    attribute.attname::text as name,
    kind.typname::text as kind,
    concat_ws('/', current_database(), attribute.attrelid::bigint) as identity,
    has_function_privilege('pg_catalog.pg_control_system()', 'execute') as tells_server
from pg_catalog.pg_attribute as attribute
inner join pg_catalog.pg_type as kind on attribute.atttypid = kind.oid
where attribute.attrelid = to_regclass(${table})::oid and attribute.attnum > 0 and not attribute.attisdropped
order by attribute.attnum
