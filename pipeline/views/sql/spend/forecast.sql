-- The forecast of the current month, or of the next one where the history ends on a month's last day.
select month, as_of, so_far, point, low_80, high_80, budget_95, note
from analysis.cost_forecast
where segment = $$segment and point is not null
order by month
limit 1
