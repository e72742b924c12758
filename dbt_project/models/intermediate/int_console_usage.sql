{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    Which rows of overlapping usage exports count, and how much of each.

    1. Of two exports of one grain, for one interval and key, one is in force: the one that reaches further, then the
       greater total, then the one that tells 5-minute from 1-hour writes, then the greater sha256. Never the file's name
       or date.
    2. Coarser rows (in time, or in the columns that they state) keep what is beyond the finer rows inside them, kind by
       kind, compared on the columns that both state. Levels are taken from the finest to the coarsest, so each rest is
       counted by the levels above it.
    3. A rest that would be negative in any kind means that the coarser export is the older one: the whole rest is zero
       and the row is flagged.
#}
{%- set grains = [60, 3600, 86400] -%}
{%- set statements = [['context_window', 'geo_speed'], ['context_window'], ['geo_speed'], []] -%}
{%- set columns = {'context_window': ['context_window'], 'geo_speed': ['inference_geo', 'speed']} -%}
{%- set counted = kinds() + ['web_search_count'] -%}
{%- set present = console_levels() -%}
{%- set ranks = exports_overlap() -%}
{#- With one level nothing is read twice: rows then stream from raw to table. -#}
{%- set kept = '' if present | length == 1 else 'materialized ' -%}

with usage as (
    select
        *,
        usage_start::date as usage_date
    from {{ ref('stg_console_usage') }}
    where {{ in_days('usage_start') }}
),

{% if ranks -%}
exports as (
    select
        file_sha256,
        max(coalesce(export_reaches_to, usage_start + to_seconds(bucket_seconds))) as reaches_to
    from usage
    group by file_sha256
),

ranked as (
    select
        usage.*,
        row_number() over (
            partition by
                usage_start, bucket_seconds, states_context_window, states_geo_speed, model_version, api_key,
                workspace, usage_type, context_window, inference_geo, speed
            order by exports.reaches_to desc, total_tokens desc, cache_split_assumed, file_sha256 desc
        ) as precedence
    from usage
    inner join exports using (file_sha256)
),

{% endif -%}
winners as {{ kept }}(
    select
        * exclude ({{ 'precedence, ' if ranks }}total_tokens, export_reaches_to),
        total_tokens as exported_tokens,
        false as has_finer_rows,
        false as rest_was_negative
    from {{ 'ranked' if ranks else 'usage' }}
    {{ 'where precedence = 1' if ranks }}
),

{% set step = namespace(n=0, earlier=[]) -%}
{% for grain in grains -%}
{% for stated in statements if not present or [grain, 'context_window' in stated, 'geo_speed' in stated] in present -%}
{% set step.n = step.n + 1 -%}
{% set n = step.n -%}
open_{{ n }}_0 as {{ kept }}(
    select *
    from winners
    where
        bucket_seconds = {{ grain }}
        and states_context_window = {{ ('context_window' in stated) | lower }}
        and states_geo_speed = {{ ('geo_speed' in stated) | lower }}
),

{# The finer rows inside this level's, one pass for each set of columns that they lack, beginning with none. A finer row
   that lacks a column cannot be told apart by it: it is taken off the group of rows that differ only in such columns. -#}
{% set pass = namespace(n=0) -%}
{% for absent in statements | reverse -%}
{% set inside = [] -%}
{% for level in step.earlier if stated | reject('in', level.stated) | list == absent -%}
{% do inside.append(level.n) -%}
{% endfor -%}
{% if inside -%}
{% set before = 'open_' ~ n ~ '_' ~ pass.n -%}
{% set pass.n = pass.n + 1 -%}
{% set this = n ~ '_' ~ pass.n -%}
{% set group_columns = ['usage_start', 'model_version', 'api_key', 'workspace', 'usage_type'] -%}
{% for column in stated if column not in absent -%}
{% do group_columns.extend(columns[column]) -%}
{% endfor -%}
finer_{{ this }} as (
    select
        time_bucket(to_seconds({{ grain }}), usage_start) as usage_start,
        {{ group_columns[1:] | join(', ') }},
        bool_or(cache_split_assumed) as cache_split_assumed,
        {% for kind in counted -%}
        sum({{ kind }})::bigint as {{ kind }}{{ ',' if not loop.last }}
        {% endfor %}
    from (
        {% for level in inside -%}
        select * from rest_{{ level }}{{ ' union all' if not loop.last }}
        {% endfor %}
    )
    group by all
),

-- finer_*: inside the group of rows that share what both sides state; so_far_*: of the group, up to this row.
beside_{{ this }} as (
    select
        coarser.*,
        finer.usage_start is not null as is_beside,
        {% for kind in counted -%}
        coalesce(finer.{{ kind }}, 0) as finer_{{ kind }},
        {% if absent -%}
        (sum(coarser.{{ kind }}) over whole_group)::bigint as group_{{ kind }},
        (sum(coarser.{{ kind }}) over in_order)::bigint as so_far_{{ kind }},
        {% else -%}
        coarser.{{ kind }} as group_{{ kind }},
        coarser.{{ kind }} as so_far_{{ kind }},
        {% endif -%}
        {% endfor -%}
        {{ 'bool_or(coarser.cache_split_assumed) over whole_group' if absent else 'coarser.cache_split_assumed' }}
        or coalesce(finer.cache_split_assumed, false) as writes_as_one
    from {{ before }} as coarser
    left join finer_{{ this }} as finer
        on
            {% for column in group_columns -%}
            {{ 'and ' if not loop.first }}coarser.{{ column }} = finer.{{ column }}
            {% endfor -%}
    {% if absent -%}
    window
        whole_group as (partition by {% for column in group_columns %}coarser.{{ column }}{{ ', ' if not loop.last }}{% endfor %}),
        in_order as (
            partition by {% for column in group_columns %}coarser.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
            order by coarser.context_window, coarser.inference_geo, coarser.speed
            rows between unbounded preceding and current row
        )
    {%- endif %}
),

-- Where a side does not tell 5 minutes from 1 hour, cache writes are taken off as one sum, the 5-minute ones first.
written_{{ this }} as (
    select
        * replace (
            if(
                writes_as_one,
                least(finer_input_tokens_cache_write_5m + finer_input_tokens_cache_write_1h, group_input_tokens_cache_write_5m),
                finer_input_tokens_cache_write_5m
            ) as finer_input_tokens_cache_write_5m,
            if(
                writes_as_one,
                greatest(
                    finer_input_tokens_cache_write_5m + finer_input_tokens_cache_write_1h - group_input_tokens_cache_write_5m, 0
                ),
                finer_input_tokens_cache_write_1h
            ) as finer_input_tokens_cache_write_1h
        )
    from beside_{{ this }}
),

checked_{{ this }} as (
    select
        *,
        is_beside and least(
            {%- for kind in counted %}group_{{ kind }} - finer_{{ kind }}{{ ', ' if not loop.last }}{% endfor -%}
        ) < 0 as is_negative
    from written_{{ this }}
),

open_{{ this }} as materialized (
    select
        * exclude (
            is_beside, is_negative, writes_as_one,
            {% for kind in counted -%}
            finer_{{ kind }}, group_{{ kind }}, so_far_{{ kind }}{{ ',' if not loop.last }}
            {% endfor %}
        )
        replace (
            {% for kind in counted -%}
            case
                when not is_beside then {{ kind }}
                when is_negative then 0
                else greatest(least(so_far_{{ kind }} - finer_{{ kind }}, {{ kind }}), 0)
            end as {{ kind }},
            {% endfor -%}
            has_finer_rows or is_beside as has_finer_rows,
            rest_was_negative or is_negative as rest_was_negative
        )
    from checked_{{ this }}
),

{% endif -%}
{% endfor -%}
rest_{{ n }} as (
    select * from open_{{ n }}_{{ pass.n }}
),

{% do step.earlier.append({'n': n, 'stated': stated}) -%}
{% endfor -%}
{% endfor -%}
final as (
    {% for level in step.earlier -%}
    select * from rest_{{ level.n }}{{ ' union all by name' if not loop.last }}
    {% endfor %}
)

select
    *,
    {{ total_of() }} as total_tokens
from final
