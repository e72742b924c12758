{#
    Law 1, in numbers: what was stored = what is in force + what another record of the same tokens supersedes, and what is
    in force = what the marts hold. Each figure is summed from a table of its own.
#}
with stored as (
    select 'console' as source, sum({{ total_of() }}) as tokens from {{ source('raw', 'console_usage') }}
    union all
    select 'sessions', sum({{ total_of() }}) from {{ source('raw', 'requests') }}
    union all
    select 'sessions', sum({{ total_of() }}) from {{ source('raw', 'usage_sessions') }}
),

console_rows as (
    select * from {{ ref('int_console_usage') }}
),

-- exports that lost to another one of their grain, and what finer rows took over from the rows that won
superseded as (
    select
        'console' as source,
        (select coalesce(sum({{ total_of() }}), 0) from {{ source('raw', 'console_usage') }})
        - coalesce(sum(exported_tokens), 0) as tokens
    from console_rows
    union all
    select 'console', coalesce(sum(exported_tokens - total_tokens), 0) from console_rows
    union all
    select
        'sessions',
        (select coalesce(sum(total_tokens), 0) from {{ ref('stg_requests') }})
        - (select coalesce(sum(total_tokens), 0) from {{ ref('int_requests') }})
    union all
    select
        'sessions',
        (select coalesce(sum(total_tokens), 0) from {{ ref('stg_usage_sessions') }})
        - (select coalesce(sum(total_tokens), 0) from {{ ref('int_session_records') }})
    union all
    select
        'sessions',
        coalesce(sum(total_tokens - (
            {%- for kind in kinds() %}rest_{{ kind }}{{ ' + ' if not loop.last }}{% endfor -%}
        )), 0)
    from {{ ref('int_session_records') }}
),

in_force as (
    select source, sum(total_tokens) as tokens from {{ ref('int_usage') }} group by source
),

in_marts as (
    select source, sum(total_tokens) as tokens from {{ ref('token_usage_minutes') }} group by source
),

sources as (
    select unnest(['console', 'sessions']) as source
)

select
    source,
    coalesce((select sum(tokens) from stored where stored.source = sources.source), 0)::bigint as stored_tokens,
    coalesce((select sum(tokens) from superseded where superseded.source = sources.source), 0)::bigint
        as superseded_tokens,
    coalesce((select sum(tokens) from in_force where in_force.source = sources.source), 0)::bigint as in_force_tokens,
    coalesce((select sum(tokens) from in_marts where in_marts.source = sources.source), 0)::bigint as marts_tokens
from sources
order by source
