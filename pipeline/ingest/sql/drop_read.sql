-- Notes of what could not be read, but for those that hold still.
delete from ingest.files
where starts_with(file_sha256, 'refused:') and not list_contains(?::varchar[], file_sha256)
