insert or replace into raw.exports
select
    file_sha256,
    max(usage_date)::timestamp as reaches_to
from raw.console_costs
where file_sha256 = ?
group by file_sha256
