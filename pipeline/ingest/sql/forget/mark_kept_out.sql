-- Files of which `forget --before` excluded every row: the ledger must not list rows that were not stored.
update ingest.files
set status = 'forgotten'
where file_sha256 in (select unnest(?::varchar[])) and rows_loaded > 0 and first_usage_date is null
