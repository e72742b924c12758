-- A pull covers its whole range, including days without usage.
select
    coalesce(exports.covers_from::date, stored.first_day) as first_usage_date,
    coalesce((exports.covers_to - interval 1 microsecond)::date, stored.last_day) as last_usage_date
from (
    select min(usage_date) as first_day, max(usage_date) as last_day
    from raw.console_costs
    where file_sha256 = $$sha256
) as stored
left join raw.exports as exports
    on
        exports.file_sha256 = $$sha256
        and exports.is_pull
        and exports.covers_from >= coalesce((select max(before_date) from raw.retention), exports.covers_from)
