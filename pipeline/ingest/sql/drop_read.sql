-- Ledger rows of files that could not be read, except those that are still unreadable.
delete from ingest.files
where starts_with(file_sha256, 'refused:') and not list_contains(?::varchar[], file_sha256)
