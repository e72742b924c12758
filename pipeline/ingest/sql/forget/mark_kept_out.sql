-- Files of which `forget --before` has kept out every row: the ledger must not promise rows that are not there.
update ingest.files
set status = 'forgotten'
where file_sha256 in (select unnest(?::varchar[])) and rows_loaded > 0 and first_usage_date is null
