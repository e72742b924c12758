-- What has changed in the chargeback of closed months since they were booked.
select
    month,
    team,
    old_usd,
    new_usd,
    difference_usd,
    cause,
    noticed_at
from analysis.restatements
where side = 'chargeback' and ${filters}
order by noticed_at desc, month desc, team
