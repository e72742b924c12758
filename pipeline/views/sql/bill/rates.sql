-- Each rate of the card against the bill, the ones that the bill contradicts first.
select *
from marts.rate_evidence
where ${filters}
order by verdict <> 'mispriced', abs(cost_gap_usd) desc, month, model, token_kind
