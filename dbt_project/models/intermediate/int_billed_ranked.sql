{{ config(materialized='view') }}

{#
    Bills in force. Amounts are summed within an export. Then one export per day, workspace, key, user and model is
    in force: the one that reaches further, then the one with the greater amount, then the greater sha256. Of two
    pulls of one day, the later one replaces the earlier one completely.
#}
{%- set key = ['channel', 'provider', 'usage_date', 'workspace', 'api_key', 'user_id', 'model', 'stated'] -%}

with costs as (
    select
        *,
        {{ stated_cost_dimensions() }} as stated,
        ({{ rounding_usd('provider', 'channel') }} * cost_rows)::decimal(38, 12) as rounding_tolerance_usd
    from {{ ref('stg_console_costs') }}
    where {{ in_scope('usage_date') }}
),

pulls as (
    select * from {{ source('raw', 'exports') }}
    where is_pull and side = 'billed'
),

current_costs as (
    select * from costs
    where
        channel <> 'api'
        or not exists (
            select 1
            from pulls
            where
                pulls.provider = costs.provider
                and pulls.stated = costs.stated
                and costs.usage_date >= pulls.covers_from
                and costs.usage_date < pulls.covers_to
                and pulls.reaches_to > costs.export_reaches_to
        )
),

export_amounts as (
    select
        file_sha256,
        {{ key | join(', ') }},
        export_reaches_to,
        sum(cost_usd) as amount_usd
    from current_costs
    group by all
),

ranked as (
    select
        *,
        row_number() over (
            partition by {{ key | join(', ') }} order by export_reaches_to desc, amount_usd desc, file_sha256 desc
        ) as precedence
    from export_amounts
)

select
    current_costs.file_sha256,
    current_costs.usage_date,
    current_costs.provider,
    current_costs.channel,
    current_costs.model,
    current_costs.api_key,
    current_costs.workspace,
    current_costs.user_id,
    current_costs.usage_type,
    current_costs.context_window,
    current_costs.inference_geo,
    current_costs.speed,
    current_costs.cost_type,
    current_costs.token_kind,
    current_costs.is_credit,
    current_costs.states_api_key,
    current_costs.states_workspace,
    current_costs.states_user_id,
    current_costs.states_kind,
    current_costs.stated,
    current_costs.cost_usd,
    current_costs.list_price_usd,
    current_costs.cost_rows,
    current_costs.rounding_tolerance_usd,
    false as rest_was_negative
from current_costs
inner join ranked using (file_sha256, {{ key | join(', ') }})
where ranked.precedence = 1
