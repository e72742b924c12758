-- The hours of the days on which calls may have changed, and one on each side: no cache lives longer than an hour.
insert or ignore into scope.hours
select unnest(generate_series(item - interval 1 hour, item + interval 1 day, interval 1 hour))
from scope.days
where exists (select 1 from scope.responses) or exists (select 1 from scope.sessions)
