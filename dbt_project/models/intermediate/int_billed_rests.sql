{{ config(
    materialized='stepwise', start='int_billed_ranked', side='billed', scope_column='usage_date',
    unique_key=['usage_date', 'provider', 'channel', 'stated']
) }}
-- depends_on: {{ ref('int_billed_ranked') }}

{#
    Rests of bills of one day with different groupings (by project, line item, key or none). The table starts as
    int_billed_ranked. This SQL is one step: the amounts of one level minus those of earlier levels, compared on the
    dimensions that both state, or on the sum of the day if they share none. Differences within rounding are zero. A
    negative rest means that the coarser export is older: the whole rest is zero, and flagged. Credits are negative
    amounts and are added to what they reduce.
#}
{%- set columns = cost_dimensions().values() | sum(start=[]) -%}
{%- set group_key = ['usage_date', 'provider', 'channel'] -%}
{%- for column in columns %}{% do group_key.append('shared_' ~ column) %}{% endfor -%}

with steps as (
    select * from {{ ref('int_export_steps') }}
    where side = 'billed' and step = {{ current_step() }} and {{ in_scope('usage_date') }}
),

-- Rows of both sides; dimensions that one side does not state are blank.
compared as (
    select
        rests.*,
        steps.is_finer,
        {% for dimension, held_in in cost_dimensions().items() -%}
        {% set outer = loop -%}
        {% for column in held_in -%}
        case when {{ has_dimension('steps.compared_dimensions', dimension) }} then rests.{{ column }} else '' end as shared_{{ column }}
        {{- ',' if not (loop.last and outer.last) }}
        {% endfor %}
        {%- endfor %}
    from {{ this }} as rests
    inner join steps
        on
            rests.usage_date = steps.usage_date
            and rests.provider = steps.provider
            and rests.channel = steps.channel
            and rests.stated = steps.stated
),

finer as (
    select
        {{ group_key | join(', ') }},
        sum(cost_usd) as finer_usd,
        coalesce(sum(list_price_usd), 0) as finer_list_usd,
        sum(rounding_tolerance_usd) as finer_tolerance_usd
    from compared
    where is_finer
    group by all
),

-- Rows with equal shared dimensions are one group. so_far_*: cumulative sum in the group, up to this row.
coarser as (
    select
        *,
        sum(cost_usd) over whole_group as group_usd,
        sum(rounding_tolerance_usd) over whole_group as group_tolerance_usd,
        sum(cost_usd) over in_order as so_far_usd,
        sum(list_price_usd) over in_order as so_far_list_usd
    from compared
    where not is_finer
    window
        whole_group as (partition by {{ group_key | join(', ') }}),
        in_order as (
            partition by {{ group_key | join(', ') }}
            order by
                {{ columns | join(', ') }}, usage_type, context_window, inference_geo, speed, cost_type, is_credit,
                file_sha256
            rows between unbounded preceding and current row
        )
),

beside as (
    select
        coarser.*,
        finer.provider is not null as is_beside,
        group_usd - finer_usd as group_beyond_usd,
        group_tolerance_usd + finer_tolerance_usd as tolerance_usd,
        so_far_usd - finer_usd as beyond_usd,
        so_far_list_usd - finer_list_usd as beyond_list_usd
    from coarser
    left join finer using ({{ group_key | join(', ') }})
),

-- The part of the group's rest that belongs to this row.
added as (
    select
        *,
        greatest(beyond_usd, 0) - greatest(beyond_usd - cost_usd, 0) as rest_usd,
        greatest(beyond_list_usd, 0) - greatest(beyond_list_usd - list_price_usd, 0) as rest_list_usd
    from beside
),

checked as (
    select
        *,
        is_beside and (group_beyond_usd <= tolerance_usd or rest_usd = 0) as is_spent
    from added
)

select
    file_sha256,
    usage_date,
    provider,
    channel,
    model,
    api_key,
    workspace,
    user_id,
    usage_type,
    context_window,
    inference_geo,
    speed,
    cost_type,
    token_kind,
    is_credit,
    states_api_key,
    states_workspace,
    states_user_id,
    states_kind,
    stated,
    case when is_spent then 0 when is_beside then rest_usd else cost_usd end::decimal(38, 12) as cost_usd,
    case when is_spent then 0 when is_beside then rest_list_usd else list_price_usd end::decimal(38, 12) as list_price_usd,
    case when is_spent then 0 else cost_rows end as cost_rows,
    case when is_spent then 0 else rounding_tolerance_usd end::decimal(38, 12) as rounding_tolerance_usd,
    rest_was_negative or (is_beside and group_beyond_usd < -tolerance_usd) as rest_was_negative
from checked
