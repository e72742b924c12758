{#
    Conservation of tokens: stored = in force + superseded by another record of the same tokens, and in force = in
    the marts.
#}
with balance as (
    select
        source,
        sum(stored_tokens) as stored_tokens,
        sum(superseded_tokens) as superseded_tokens,
        sum(in_force_tokens) as in_force_tokens
    from {{ ref('int_token_balance') }}
    group by source
),

in_marts as (
    select
        source,
        sum(parts) as marts_tokens
    from {{ ref('token_sum_audit') }}
    group by source
),

sources as (
    select 'console' as source
    union all
    select 'sessions' as source
)

select
    sources.source,
    coalesce(balance.stored_tokens, 0)::bigint as stored_tokens,
    coalesce(balance.superseded_tokens, 0)::bigint as superseded_tokens,
    coalesce(balance.in_force_tokens, 0)::bigint as in_force_tokens,
    coalesce(in_marts.marts_tokens, 0)::bigint as marts_tokens
from sources
left join balance on sources.source = balance.source
left join in_marts on sources.source = in_marts.source
order by sources.source
