-- How cost and tokens spread, and whether the tail is heavy
-- minor: verdict_reason, mean, p99, gini, top_10_share, source, p95_to_median
select
    segment,
    measure,
    source,
    n,
    mean,
    median,
    p95,
    p99,
    p95_to_median,
    gini,
    top_10_share,
    verdict,
    verdict_reason
from analysis.tail_metrics
order by segment <> 'all', segment, measure
