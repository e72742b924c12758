{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    Which amounts of overlapping cost exports count.

    1. Amounts are summed inside an export; then one export is in force for each day, workspace, key, user and model: the
       one that reaches further, then the greater amount, then the greater sha256. Of two pulls of one day the later one is in
       force as a whole.
    2. Exports of one day by project, by line item, by key or without any grouping are coarser or finer than each other, or
       neither. Each keeps what is beyond those before it, in the order of levels, compared on the dimensions that both state:
       where they share none, on the sum of the day. What is not more than rounding is nothing.
    3. A rest that would be negative means that the coarser export is the older one: the whole rest is zero, and flagged.
    4. Console exports and API pages bill the same costs twice: of each provider and day one channel is in force, the one that
       the settings prefer where it has the day.
    5. A negative amount is a credit: it takes part in all of this as the amount that it lessens, and is a charge of its own in
       the end, so that it neither hides what was billed nor ties out with usage.
#}
{%- set columns = cost_dimensions() -%}
{%- set levels = cost_levels() -%}

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
                and pulls.stated = costs.stated
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
        user_id,
        model,
        stated,
        reaches_to,
        sum(cost_usd) as amount_usd
    from current_costs
    group by all
),

ranked as (
    select
        *,
        row_number() over (
            partition by channel, provider, usage_date, workspace, api_key, user_id, model, stated
            order by reaches_to desc, amount_usd desc, file_sha256 desc
        ) as precedence
    from export_amounts
),

in_force as materialized (
    select
        current_costs.* exclude (export_reaches_to, reaches_to),
        false as rest_was_negative
    from current_costs
    inner join ranked using (file_sha256, channel, provider, usage_date, workspace, api_key, user_id, model, stated)
    where ranked.precedence = 1
),

{% set step = namespace(earlier=[]) -%}
{% for stated_text in levels -%}
{% set stated = stated_text.split(',') if stated_text else [] -%}
{% set n = loop.index -%}
open_{{ n }}_0 as materialized (
    select * from in_force
    where stated = '{{ stated_text }}'
),

{# One pass for each set of dimensions that finer levels lack, beginning with none. -#}
{% set lacking = [] -%}
{% for level in step.earlier -%}
{% set absent = stated | reject('in', level.stated) | list -%}
{% do lacking.append((absent | length, absent | join(','))) -%}
{% endfor -%}
{% set pass = namespace(n=0) -%}
{% for _, absent_text in lacking | sort | unique -%}
{% set absent = absent_text.split(',') if absent_text else [] -%}
{% set before = 'open_' ~ n ~ '_' ~ pass.n -%}
{% set pass.n = pass.n + 1 -%}
{% set this = n ~ '_' ~ pass.n -%}
{% set group_columns = ['usage_date', 'channel', 'provider'] -%}
{% for dimension in stated if dimension not in absent -%}
{% do group_columns.extend(columns[dimension]) -%}
{% endfor -%}
finer_{{ this }} as (
    select
        {{ group_columns | join(', ') }},
        sum(cost_usd) as cost_usd,
        sum(list_price_usd) as list_price_usd,
        sum(rounding_tolerance_usd) as tolerance_usd
    from (
        {% set inside = [] -%}
        {% for level in step.earlier if stated | reject('in', level.stated) | list == absent -%}
        {% do inside.append(level.n) -%}
        {% endfor -%}
        {% for level in inside -%}
        select * from rest_{{ level }}{{ ' union all' if not loop.last }}
        {% endfor %}
    )
    group by all
),

-- beyond_*: of the group of rows that share what both sides state, up to this row.
beside_{{ this }} as (
    select
        coarser.*,
        finer.usage_date is not null as is_beside,
        sum(coarser.cost_usd) over whole_group - finer.cost_usd as group_beyond_usd,
        sum(coarser.rounding_tolerance_usd) over whole_group + finer.tolerance_usd as group_tolerance_usd,
        sum(coarser.cost_usd) over in_order - finer.cost_usd as beyond_usd,
        sum(coarser.list_price_usd) over in_order - coalesce(finer.list_price_usd, 0) as beyond_list_usd
    from {{ before }} as coarser
    left join finer_{{ this }} as finer
        on
            {% for column in group_columns -%}
            {{ 'and ' if not loop.first }}coarser.{{ column }} = finer.{{ column }}
            {% endfor -%}
    window
        whole_group as (partition by {% for column in group_columns %}coarser.{{ column }}{{ ', ' if not loop.last }}{% endfor %}),
        in_order as (
            partition by {% for column in group_columns %}coarser.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
            order by
                {% for dimension in absent %}{% for column in columns[dimension] %}coarser.{{ column }}, {% endfor %}{% endfor -%}
                coarser.usage_type, coarser.context_window, coarser.inference_geo, coarser.speed, coarser.cost_type,
                coarser.is_credit, coarser.file_sha256
            rows between unbounded preceding and current row
        )
),

-- Of what is beyond the finer amounts, the part that this row adds.
left_{{ this }} as (
    select
        *,
        is_beside and group_beyond_usd <= group_tolerance_usd as is_nothing,
        greatest(beyond_usd, 0) - greatest(beyond_usd - cost_usd, 0) as rest_usd,
        greatest(beyond_list_usd, 0) - greatest(beyond_list_usd - list_price_usd, 0) as rest_list_usd,
        is_beside and (is_nothing or rest_usd = 0) as is_spent
    from beside_{{ this }}
),

open_{{ this }} as materialized (
    select
        * exclude (
            is_beside, group_beyond_usd, group_tolerance_usd, beyond_usd, beyond_list_usd, is_nothing, rest_usd,
            rest_list_usd, is_spent
        )
        replace (
            if(is_spent, 0, if(is_beside, rest_usd, cost_usd))::decimal(38, 12) as cost_usd,
            if(is_spent, 0, if(is_beside, rest_list_usd, list_price_usd))::decimal(38, 12) as list_price_usd,
            if(is_spent, 0, cost_rows) as cost_rows,
            if(is_spent, 0, rounding_tolerance_usd)::decimal(38, 12) as rounding_tolerance_usd,
            rest_was_negative or (is_beside and group_beyond_usd < -group_tolerance_usd) as rest_was_negative
        )
    from left_{{ this }}
),

{% endfor -%}
rest_{{ n }} as (
    select * from open_{{ n }}_{{ pass.n }}
),

{% do step.earlier.append({'n': n, 'stated': stated}) -%}
{% endfor -%}
rests as materialized (
    {% for level in step.earlier -%}
    select * from rest_{{ level.n }}{{ ' union all by name' if not loop.last }}
    {% endfor %}
),

channels_in_force as (
    select
        provider,
        usage_date,
        coalesce(
            max(channel) filter (where channel = {{ preferred_channel('provider') }}), max(channel)
        ) as channel_in_force
    from rests
    group by provider, usage_date
),

final as (
    select
        rests.* exclude (is_credit, stated)
        replace (
            if(rests.cost_usd < 0, 'credit', rests.token_kind) as token_kind,
            if(rests.cost_usd < 0, 'credit', rests.cost_type) as cost_type
        ),
        rests.channel = channels_in_force.channel_in_force as is_in_force
    from rests
    inner join channels_in_force using (provider, usage_date)
)

select * from final
