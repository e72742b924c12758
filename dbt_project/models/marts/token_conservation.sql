{#
    Law 1, in numbers: what was stored = what is in force + what another record of the same tokens supersedes, and what is
    in force = what the marts hold.
#}
with balance as (
    select * from {{ ref('int_token_balance') }}
),

sources as (
    select unnest(['console', 'sessions']) as source
)

select
    sources.source,
    coalesce(sum(balance.stored_tokens), 0)::bigint as stored_tokens,
    coalesce(sum(balance.superseded_tokens), 0)::bigint as superseded_tokens,
    coalesce(sum(balance.in_force_tokens), 0)::bigint as in_force_tokens,
    coalesce(sum(balance.marts_tokens), 0)::bigint as marts_tokens
from sources
left join balance on sources.source = balance.source
group by sources.source
order by sources.source
