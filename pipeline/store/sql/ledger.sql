select
    count(*),
    max(loaded_at),
    sum(rows_loaded),
    sum(rows_rejected),
    count(*) filter (where status = 'forgotten')
from ingest.files
