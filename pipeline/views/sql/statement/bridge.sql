-- The causes of the change from the month before.
select *
from analysis.month_bridge
where month = $$month and segment = $$segment
