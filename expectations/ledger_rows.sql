-- Rows loaded according to the ledger, by format.
select
    format,
    sum(rows_loaded)::bigint as rows_loaded
from ingest.files
where status = 'loaded' and rows_loaded > 0
group by all
