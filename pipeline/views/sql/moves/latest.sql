-- The last month with a bridge, and the days of the history.
select
    (select max(month) from analysis.month_bridge) as month,
    (select any_value(note) from analysis.month_bridge where month is null) as note,
    min(usage_date) as first_day,
    max(usage_date) as last_day
from marts.charges
where is_in_force
