{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

-- Keys of each side on a day: a small table with all that usage_reconciliation needs from other days.
select
    cells.usage_date,
    cells.side,
    cells.source_format,
    cells.provider,
    cells.api_key,
    cells.workspace,
    cells.key_origin,
    cells.last_usage_date,
    sum(cells.tokens)::bigint as tokens,
    sum(cells.cost_usd)::decimal(38, 12) as cost_usd,
    max(cells.known_to) as known_to,
    bit_xor(
        case
            when cells.last_usage_date > cells.usage_date
                then hash(cells.model, cells.token_kind, cells.is_session, cells.tokens, cells.cost_usd)
        end
    )::varchar as later_days_mark
from {{ ref('int_reconciliation') }} as cells
where {{ in_scope('cells.usage_date') }}
group by
    cells.usage_date, cells.side, cells.source_format, cells.provider, cells.api_key, cells.workspace, cells.key_origin,
    cells.last_usage_date
