-- The hours of days on which calls may have changed, and one hour before and after: no cache lives longer.
insert or ignore into scope.hours
select unnest(generate_series(item - interval 1 hour, item + interval 1 day, interval 1 hour))
from scope.days
where exists (select 1 from scope.responses) or exists (select 1 from scope.sessions)
