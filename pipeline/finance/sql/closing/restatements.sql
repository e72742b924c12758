select
    month, side, provider, model, api_key, workspace, token_kind, team, cost_centre, product, environment,
    old_tokens, new_tokens, old_usd, new_usd, (new_usd - old_usd)::decimal(38, 12) as difference_usd,
    cause, noticed_at
from raw.restatements
order by month, noticed_at, side, model, api_key, workspace, token_kind, team, cost_centre, product, environment
