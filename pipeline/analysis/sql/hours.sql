-- Number of observations of the chosen segments in each hour (UTC) that has any.
select
    key,
    date_trunc('hour', observed_at) as hour,
    count(*) as observations
from observations
where key in (select unnest($keys)) and observed_at is not null
group by all
order by all
