{{ config(materialized='view') }}

{#
    Usage from the providers' accounts, each token once, in three steps: which export is in force
    (int_console_ranked), rests of coarser rows beyond finer ones (int_console_rests), and which channel counts
    (int_console_channels).
#}
with rests as (
    select * from {{ ref('int_console_rests') }}
),

channels as (
    select * from {{ ref('int_console_channels') }}
)

select
    rests.*,
    rests.channel = channels.channel_in_force as is_in_force,
    {{ total_of('rests') }} as total_tokens
from rests
inner join channels on rests.usage_date = channels.usage_date and rests.provider = channels.provider
