-- Rejected rows of files that are not loaded (any more); the ledger keeps the counts.
delete from ingest.rejected_rows
where file_sha256 not in (select files.file_sha256 from ingest.files as files where files.status = 'loaded')
