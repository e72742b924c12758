delete from ingest.files
where file_sha256 = ? and (status <> ? or message <> ?)
