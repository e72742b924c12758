{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    The bill, each amount once, in three steps: which bill is in force (int_billed_ranked), what other bills have
    beyond it (int_billed_rests), and which channel counts. Console exports and API pages bill the same costs twice,
    so one channel per provider and day is in force: the preferred one of the settings, if it has the day. Negative
    results are separate charges (credits): they reduce no billed amount and are not compared with usage.
#}
with rests as (
    select * from {{ ref('int_billed_rests') }}
    where {{ in_scope('usage_date') }}
),

account_channels as (
    select * from {{ source('raw', 'account_channels') }}
),

channels as (
    select
        rests.usage_date,
        rests.provider,
        coalesce(
            max(rests.channel) filter (where rests.channel = coalesce(account_channels.channel, 'csv')), max(rests.channel)
        ) as channel_in_force
    from rests
    left join account_channels on rests.provider = account_channels.provider
    group by rests.usage_date, rests.provider
)

select
    rests.file_sha256,
    rests.usage_date,
    rests.provider,
    rests.channel,
    rests.model,
    rests.api_key,
    rests.workspace,
    rests.user_id,
    rests.usage_type,
    rests.context_window,
    rests.inference_geo,
    rests.speed,
    case when rests.cost_usd < 0 then 'credit' else rests.cost_type end as cost_type,
    case when rests.cost_usd < 0 then 'credit' else rests.token_kind end as token_kind,
    rests.states_api_key,
    rests.states_workspace,
    rests.states_user_id,
    rests.states_kind,
    rests.cost_usd,
    rests.list_price_usd,
    rests.cost_rows,
    rests.rounding_tolerance_usd,
    rests.rest_was_negative,
    rests.channel = channels.channel_in_force as is_in_force
from rests
inner join channels on rests.usage_date = channels.usage_date and rests.provider = channels.provider
