select *
from marts.rate_evidence
order by verdict <> 'mispriced', abs(cost_gap_usd) desc, month, model, token_kind
