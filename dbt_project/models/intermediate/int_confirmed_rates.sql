-- Where a cell ties out, the rate of its model and kind is right: what was billed there, as a multiple of the rate card's
-- cost, is at least this.
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
