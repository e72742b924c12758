-- Enter several files into the ledger and into the scope of the next build.
delete from ingest.files
where file_sha256 in (select file_sha256 from entered_files);

insert into ingest.files by name
select
    *,
    now()::timestamp as loaded_at,
    'loaded' as status
from entered_files;

insert or ignore into scope.pending_files
select file_sha256
from entered_files;
