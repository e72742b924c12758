{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    Conservation of tokens by day: each figure is the sum of another table. A repeated response can be on another
    day in a raw file than the day on which it counts, so a single day need not balance; the sum over all days does.
#}
with console_rows as (
    select * from {{ ref('int_console_usage') }}
    where {{ in_scope('usage_date') }}
),

request_rows as (
    select
        requested_at::date as usage_date,
        total_tokens
    from {{ ref('stg_requests') }}
    where {{ in_days('requested_at') }}
),

session_rows as (
    select
        session_started_at::date as usage_date,
        total_tokens
    from {{ ref('stg_usage_sessions') }}
    where {{ in_days('session_started_at') }}
),

exported as (
    select
        usage_start::date as usage_date,
        {{ total_of() }} as total_tokens
    from {{ source('raw', 'console_usage') }}
    where {{ in_days('usage_start') }}
),

requests as (
    select
        requested_at::date as usage_date,
        total_tokens
    from {{ ref('int_requests') }}
    where {{ in_days('requested_at') }}
),

session_records as (
    select
        session_started_at::date as usage_date,
        total_tokens,
        {% for kind in kinds() %}rest_{{ kind }}{{ ' + ' if not loop.last }}{% endfor %} as rest_tokens
    from {{ ref('int_session_records') }}
    where {{ in_days('session_started_at') }}
),

figures as (
    select usage_date, 'console' as source, 'stored' as figure, total_tokens as tokens from exported
    union all
    select usage_date, 'sessions', 'stored', total_tokens from request_rows
    union all
    select usage_date, 'sessions', 'stored', total_tokens from session_rows
    union all
    -- exports superseded by another one of their grain, tokens of rows in force that finer rows contain, and the
    -- channel that is not in force
    select usage_date, 'console', 'superseded', total_tokens from exported
    union all
    select usage_date, 'console', 'superseded', -exported_tokens from console_rows
    union all
    select usage_date, 'console', 'superseded', exported_tokens - if(is_in_force, total_tokens, 0) from console_rows
    union all
    select usage_date, 'sessions', 'superseded', total_tokens from request_rows
    union all
    select usage_date, 'sessions', 'superseded', -total_tokens from requests
    union all
    select usage_date, 'sessions', 'superseded', total_tokens from session_rows
    union all
    select usage_date, 'sessions', 'superseded', -total_tokens from session_records
    union all
    select usage_date, 'sessions', 'superseded', total_tokens - rest_tokens from session_records
    union all
    select usage_date, source, 'in_force', total_tokens from {{ ref('int_usage') }}
    where {{ in_scope('usage_date') }}
)

select
    usage_date,
    source,
    coalesce(sum(tokens) filter (where figure = 'stored'), 0)::bigint as stored_tokens,
    coalesce(sum(tokens) filter (where figure = 'superseded'), 0)::bigint as superseded_tokens,
    coalesce(sum(tokens) filter (where figure = 'in_force'), 0)::bigint as in_force_tokens
from figures
group by usage_date, source
