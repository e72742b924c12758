-- Which sides took part in the comparison on how many days.
with cells as (select * from (${cells}) where ${filters})

select
    compared,
    count(distinct usage_date) as days,
    min(usage_date) as first_day,
    max(usage_date) as last_day
from cells
group by compared
order by compared
