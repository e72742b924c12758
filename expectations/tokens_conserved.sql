-- One row per source: tokens stored, superseded and in force, and an independent sum of the minutes.
-- rows_checked counts the rows of the minutes, or is 1 if tokens are stored and the minutes have none.
with

conservation as (
    select source, stored_tokens, superseded_tokens, in_force_tokens, marts_tokens from marts.token_conservation
),

minutes as (
    select source, count(*) as minute_rows, sum(total_tokens) as minutes_tokens
    from marts.token_usage_minutes
    group by all
)

select
    coalesce(conservation.source, minutes.source) as source,
    greatest(
        coalesce(minutes.minute_rows, 0),
        (coalesce(conservation.stored_tokens, 0) <> 0 or coalesce(conservation.marts_tokens, 0) <> 0)::bigint
    )::bigint as rows_checked,
    conservation.stored_tokens::bigint as stored_tokens,
    conservation.superseded_tokens::bigint as superseded_tokens,
    conservation.in_force_tokens::bigint as in_force_tokens,
    (conservation.in_force_tokens + conservation.superseded_tokens)::bigint as accounted_tokens,
    conservation.marts_tokens::bigint as marts_tokens,
    coalesce(minutes.minutes_tokens, 0)::bigint as minutes_tokens
from conservation
full outer join minutes on conservation.source is not distinct from minutes.source
order by all
