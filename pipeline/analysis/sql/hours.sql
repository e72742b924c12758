-- Number of observations of the chosen segments in each hour (UTC) that has any.
select
    segment,
    date_trunc('hour', observed_at) as hour,
    count(*) as observations
from chosen
where observed_at is not null
group by all
order by all
