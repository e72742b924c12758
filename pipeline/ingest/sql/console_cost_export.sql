insert or replace into raw.exports by name
select
    file_sha256,
    max(usage_date)::timestamp as reaches_to,
    'anthropic' as provider,
    'billed' as side
from raw.console_costs
where file_sha256 = ?
group by file_sha256
