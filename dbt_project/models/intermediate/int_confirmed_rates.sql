-- If a cell ties out, the rate of its model and kind is confirmed: the smallest ratio of billed amount to the rate
-- card's cost that such a cell allows.
select
    provider,
    model,
    token_kind,
    max({{ billed_multiple('-', computed_cost('')) }}) as least_multiple
from {{ ref('int_reconciliation_sides') }}
where
    not is_outside
    and abs(billed_cost_usd - {{ computed_cost('') }}) <= rounding_tolerance_usd
group by provider, model, token_kind
