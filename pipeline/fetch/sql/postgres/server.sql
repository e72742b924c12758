-- PostgreSQL: what tells this database cluster from any other.
select system_identifier::text as server from pg_catalog.pg_control_system()
