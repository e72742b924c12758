select
    file_index,
    sum(lines)::bigint as lines_read,
    coalesce(sum(lines) filter (where is_usage), 0)::bigint as usage_lines,
    count(*) filter (where is_usage) as requests,
    sum(malformed_lines)::bigint as malformed_lines,
    bool_or(is_odd) as is_odd,
    -- of what `forget --before` lets in
    min(requested_at) filter (where is_usage and requested_at >= kept_from)::date as first_usage_date,
    max(requested_at) filter (where is_usage and requested_at >= kept_from)::date as last_usage_date
from batch_groups
cross join (select coalesce(max(before_date), date '0001-01-01') as kept_from from raw.retention) as retention
group by file_index
