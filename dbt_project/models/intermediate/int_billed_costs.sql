{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    Which amounts of overlapping cost exports count.

    Amounts are summed inside an export; then one export is in force for each day, workspace, key and model: the one that
    reaches further, then the greater amount, then the greater sha256. An export that does not state the key or the
    workspace is coarser: it keeps what is beyond the finer rows of its day, model and kind, if that is more than rounding.
#}
{%- set levels = [('true', 'true'), ('true', 'false'), ('false', 'true'), ('false', 'false')] -%}

with costs as (
    select * from {{ ref('stg_console_costs') }}
    where {{ in_scope('usage_date') }}
),

exports as (
    select
        file_sha256,
        max(coalesce(export_reaches_to, usage_date::timestamp)) as reaches_to
    from costs
    group by file_sha256
),

export_amounts as (
    select
        file_sha256,
        usage_date,
        workspace,
        api_key,
        model,
        states_api_key,
        states_workspace,
        sum(cost_usd) as amount_usd
    from costs
    group by all
),

ranked as (
    select
        export_amounts.*,
        row_number() over (
            partition by usage_date, workspace, api_key, model, states_api_key, states_workspace
            order by exports.reaches_to desc, export_amounts.amount_usd desc, file_sha256 desc
        ) as precedence
    from export_amounts
    inner join exports using (file_sha256)
),

in_force as materialized (
    select costs.* exclude (export_reaches_to)
    from costs
    inner join ranked
        using (file_sha256, usage_date, workspace, api_key, model, states_api_key, states_workspace)
    where ranked.precedence = 1
),

kept_0 as (
    select
        *,
        false as rest_was_negative
    from in_force
    where false
),

{% for api_key, workspace in levels %}
{%- set n = loop.index -%}
level_{{ n }} as (
    select * from in_force
    where states_api_key = {{ api_key }} and states_workspace = {{ workspace }}
),

finer_{{ n }} as (
    select
        usage_date,
        model,
        token_kind,
        {{ 'api_key' if api_key == 'true' else "''" }} as api_key,
        {{ 'workspace' if workspace == 'true' else "''" }} as workspace,
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
            partition by level.usage_date, level.model, level.token_kind, level.api_key, level.workspace
            order by
                level.usage_type, level.context_window, level.inference_geo, level.speed, level.cost_type,
                level.file_sha256
        ) = 1 as is_first
    from level_{{ n }} as level
    left join finer_{{ n }} as finer
        on
            level.usage_date = finer.usage_date
            and level.model = finer.model
            and level.token_kind = finer.token_kind
            and level.api_key = finer.api_key
            and level.workspace = finer.workspace
    window cell as (
        partition by level.usage_date, level.model, level.token_kind, level.api_key, level.workspace
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
final as (
    select * from kept_{{ levels | length }}
)

select * from final
