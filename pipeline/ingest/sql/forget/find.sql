select
    file_sha256,
    path,
    format
from ingest.files
where status = 'loaded' and (path = $$1 or starts_with(file_sha256, $$2))
order by path
