update ingest.files
set status = 'forgotten'
where status = 'loaded' and rows_loaded > 0 and last_usage_date < $$1
