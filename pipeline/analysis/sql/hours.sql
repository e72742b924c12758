-- Observations of the chosen segments by weekday (1 is Monday) and hour (UTC), a line an hour with any.
select
    key,
    date_trunc('hour', observed_at) as hour,
    count(*) as observations
from observations
where key in (select unnest($keys)) and observed_at is not null
group by all
order by all
