-- Each day of the periods; a day may be in several of them.
select
    listed.period,
    cast(unnest(generate_series(listed.first_day, listed.last_day, interval 1 day)) as date) as usage_date
from (values ${periods}) as listed (period, first_day, last_day)
