{#
    The amounts that `close` booked. The rates stored with them, which determine the cause of a restatement, stay in
    the private warehouse.
#}
select
    booked.month,
    booked.side,
    booked.provider,
    booked.model,
    booked.api_key,
    booked.workspace,
    booked.token_kind,
    booked.tokens,
    booked.unpriced_tokens,
    booked.cost_usd,
    closed.closed_at
from {{ source('raw', 'booked_costs') }} as booked
inner join {{ source('raw', 'closed_months') }} as closed using (month)
order by booked.month, booked.side, booked.model, booked.api_key, booked.workspace, booked.token_kind
