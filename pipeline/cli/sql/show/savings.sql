-- What to change and what it would have saved, the largest first; then your what-if questions
select
    rank,
    kind,
    subject,
    saving_usd_per_month,
    standalone_usd_per_month,
    combined_usd_per_month,
    what_if_usd_per_month,
    confidence,
    action,
    evidence,
    applied_order,
    observed_saving_usd,
    window_days,
    sql
from analysis.recommendations
order by rank nulls last, status = 'unavailable', subject
