-- Rows that the ledger says were loaded, by the channel that a suite's rows_law names in `fed_by`.
-- A format that is not named here counts as request logs: a new format makes the rows law stricter, never blind.
select
    case
        when format in ('console_usage', 'anthropic_usage', 'openai_usage') then 'console_usage'
        when format in ('console_cost', 'anthropic_cost', 'openai_costs') then 'console_cost'
        when format = 'token_usage_sessions' then format
        else 'request_logs'
    end as channel,
    sum(rows_loaded)::bigint as rows_loaded
from ingest.files
where status = 'loaded' and rows_loaded > 0
group by all
