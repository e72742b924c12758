-- Days that cost more than expected, the latest first: single days, or what stays (kind).
select
    usage_date,
    segment,
    kind,
    value as value_usd,
    expected as expected_usd,
    excess as excess_usd,
    contributions,
    raised_on,
    taken_back
from analysis.usage_anomalies
where usage_date is not null and kind in (${kinds}) and ($$segment = 'all' or segment = $$segment) and ${filters}
order by usage_date desc, segment <> 'all', excess desc, segment
