{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    Which amounts of overlapping cost exports count.

    Amounts are summed inside an export; then one export is in force for each day, workspace, key and model: the one that
    reaches further, then the greater amount, then the greater sha256. An export that does not state the key or the
    workspace, or tells no models and kinds apart, is coarser: it keeps what is beyond the finer rows of its cell, if that is
    more than rounding. Of two pulls of one day the later one is in force as a whole. Console exports and API pages bill the
    same costs twice: of each provider and day one channel is in force, the one that the settings prefer where it has the day.
#}
{%- set levels = cost_levels() -%}
{%- set cell_columns = ['channel', 'provider', 'usage_date', 'model', 'token_kind', 'api_key', 'workspace'] -%}

with costs as (
    select * from {{ ref('stg_console_costs') }}
    where {{ in_scope('usage_date') }}
),

pulls as (
    select * from {{ source('raw', 'exports') }}
    where is_pull and side = 'billed'
),

reaches as (
    select
        file_sha256,
        max(coalesce(export_reaches_to, usage_date::timestamp)) as reaches_to
    from costs
    group by file_sha256
),

current_costs as (
    select
        costs.*,
        reaches.reaches_to
    from costs
    inner join reaches using (file_sha256)
    where
        costs.channel <> 'api'
        or not exists (
            select 1
            from pulls
            where
                pulls.provider = costs.provider
                and pulls.stated = concat_ws(
                    ',', if(costs.states_api_key, 'api_key', null), if(costs.states_kind, 'kind', null),
                    if(costs.states_workspace, 'workspace', null)
                )
                and costs.usage_date >= pulls.covers_from
                and costs.usage_date < pulls.covers_to
                and pulls.reaches_to > reaches.reaches_to
        )
),

export_amounts as (
    select
        file_sha256,
        channel,
        provider,
        usage_date,
        workspace,
        api_key,
        model,
        states_api_key,
        states_workspace,
        states_kind,
        reaches_to,
        sum(cost_usd) as amount_usd
    from current_costs
    group by all
),

ranked as (
    select
        *,
        row_number() over (
            partition by
                channel, provider, usage_date, workspace, api_key, model, states_api_key, states_workspace, states_kind
            order by reaches_to desc, amount_usd desc, file_sha256 desc
        ) as precedence
    from export_amounts
),

in_force as materialized (
    select current_costs.* exclude (export_reaches_to, reaches_to)
    from current_costs
    inner join ranked
        using (
            file_sha256, channel, provider, usage_date, workspace, api_key, model, states_api_key, states_workspace,
            states_kind
        )
    where ranked.precedence = 1
),

kept_0 as (
    select
        *,
        false as rest_was_negative
    from in_force
    where false
),

{% for kind, api_key, workspace in levels %}
{%- set n = loop.index -%}
level_{{ n }} as (
    select * from in_force
    where
        states_kind = {{ kind | lower }}
        and states_api_key = {{ api_key | lower }}
        and states_workspace = {{ workspace | lower }}
),

finer_{{ n }} as (
    select
        channel,
        provider,
        usage_date,
        {{ 'model' if kind else "''" }} as model,
        {{ 'token_kind' if kind else "'other'" }} as token_kind,
        {{ 'api_key' if api_key else "''" }} as api_key,
        {{ 'workspace' if workspace else "''" }} as workspace,
        sum(cost_usd) as cost_usd,
        sum(list_price_usd) as list_price_usd,
        sum(cost_rows) as cost_rows
    from kept_{{ n - 1 }}
    group by all
),

-- Rows of one cell are taken together: the finer amounts are taken off the cell, and its first row carries the rest.
cells_{{ n }} as (
    select
        level.*,
        finer.usage_date is not null as has_finer,
        sum(level.cost_usd) over cell - coalesce(finer.cost_usd, 0) as beyond_usd,
        sum(level.list_price_usd) over cell - coalesce(finer.list_price_usd, 0) as beyond_list_usd,
        0.005 * (sum(level.cost_rows) over cell + coalesce(finer.cost_rows, 0)) as tolerance_usd,
        row_number() over (
            partition by {% for column in cell_columns %}level.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
            order by
                level.usage_type, level.context_window, level.inference_geo, level.speed, level.cost_type,
                level.file_sha256
        ) = 1 as is_first
    from level_{{ n }} as level
    left join finer_{{ n }} as finer
        on
            {% for column in cell_columns -%}
            {{ 'and ' if not loop.first }}level.{{ column }} = finer.{{ column }}
            {% endfor -%}
    window cell as (
        partition by {% for column in cell_columns %}level.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    )
),

kept_{{ n }} as materialized (
    select * from kept_{{ n - 1 }}
    union all by name
    select
        * exclude (has_finer, beyond_usd, beyond_list_usd, tolerance_usd, is_first)
        replace (
            if(not has_finer, cost_usd, if(is_first and beyond_usd > tolerance_usd, beyond_usd, 0))::decimal(38, 12)
            as cost_usd,
            if(not has_finer, list_price_usd, if(is_first and beyond_usd > tolerance_usd, beyond_list_usd, 0))::decimal(38, 12)
            as list_price_usd,
            if(not has_finer or (is_first and beyond_usd > tolerance_usd), cost_rows, 0) as cost_rows
        ),
        has_finer and beyond_usd < -tolerance_usd as rest_was_negative
    from cells_{{ n }}
){{ ',' }}
{% endfor %}
channels_in_force as (
    select
        provider,
        usage_date,
        coalesce(
            max(channel) filter (where channel = {{ preferred_channel('provider') }}), max(channel)
        ) as channel_in_force
    from kept_{{ levels | length }}
    group by provider, usage_date
),

final as (
    select
        kept.*,
        kept.channel = channels_in_force.channel_in_force as is_in_force
    from kept_{{ levels | length }} as kept
    inner join channels_in_force using (provider, usage_date)
)

select * from final
