-- Teams with costs, and the months in which they have any.
select
    team,
    list(distinct month order by month) as months
from marts.chargeback
where team <> ''
group by team
order by team
