-- The forecasts of a segment, the nearest month first.
select *
from analysis.cost_forecast
where segment = $$segment
order by month
