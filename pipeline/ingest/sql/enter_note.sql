insert or ignore into ingest.files
values ($$1, $$2, $$3, '', $$4, null, null, 0, 0, 0, 0, 0, now()::timestamp, $$5, $$6)
