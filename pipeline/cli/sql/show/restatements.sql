-- Changes in closed months since they were booked
-- minor: noticed_at, token_kind, team, side
select
    strftime(month, '%Y-%m') as month,
    side,
    model,
    api_key,
    token_kind,
    team,
    old_usd,
    new_usd,
    difference_usd,
    cause,
    noticed_at
from analysis.restatements
order by month desc, noticed_at, side, model, api_key, token_kind, team
