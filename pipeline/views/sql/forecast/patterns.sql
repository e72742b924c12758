-- What repeats in the daily cost, where the history shows it.
select pattern, value, low, high, observations, note
from analysis.day_patterns
where segment = $$segment and is_evident
order by pattern
