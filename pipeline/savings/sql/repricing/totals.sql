with ${tables},

repriced as (
-- The cost of the same history at the rates above, in USD, and the difference; negative is cheaper.
${reprice}
)

select
    coalesce(sum(old_usd), 0)::decimal(38, 12) as old_usd,
    coalesce(sum(new_usd), 0)::decimal(38, 12) as new_usd,
    coalesce(sum(difference_usd), 0)::decimal(38, 12) as difference_usd,
    coalesce(sum(unpriced_tokens), 0)::bigint as unpriced_tokens
from repriced
