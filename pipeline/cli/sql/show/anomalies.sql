-- Unusually expensive days with their causes, the latest first
-- minor: note, taken_back, raised_on, method, p_value, score, expected_usd
select
    usage_date,
    segment,
    kind,
    round(value, 2)::decimal(18, 2) as cost_usd,
    round(expected, 2)::decimal(18, 2) as expected_usd,
    round(excess, 2)::decimal(18, 2) as excess_usd,
    score,
    p_value,
    method,
    raised_on,
    taken_back,
    (
        select string_agg(replace(cause.key, '_', ' ') || ' ' || printf('%+.2f', cause.value::double), ', ' order by abs(cause.value::double) desc)
        from json_each(contributions) as cause
        where abs(cause.value::double) >= 0.005
    ) as causes_usd,
    note
from analysis.usage_anomalies
order by usage_date is null, usage_date desc, segment <> 'all', excess desc, segment
