{{ config(
    materialized='stepwise', start='int_console_ranked', side='console', scope_column='usage_date',
    unique_key=['usage_date', 'provider', 'channel', 'bucket_seconds', 'stated']
) }}
-- depends_on: {{ ref('int_console_ranked') }}

{#
    Rests of coarser rows (in time or dimensions) beyond the finer rows within them, by token kind, compared on the
    dimensions that both state. The table starts as int_console_ranked. This SQL is one step: the rows of one level
    minus the rests of finer levels. Levels go from the finest to the coarsest (int_export_steps), so coarser levels
    include each rest. A negative rest of any kind means that the coarser export is older: the whole rest is zero,
    and flagged.
#}
{%- set columns = console_dimensions().values() | list -%}
{%- set amounts = kinds() + ['web_search_count', 'request_count'] -%}
{%- set parts = part_kinds() | list -%}
{%- set group_key = ['provider', 'channel', 'interval_start'] -%}
{%- for column in columns %}{% do group_key.append('shared_' ~ column) %}{% endfor -%}

with steps as (
    select * from {{ ref('int_export_steps') }}
    where side = 'console' and step = {{ current_step() }} and {{ in_scope('usage_date') }}
),

-- Rows of both sides with the coarser interval that contains them; dimensions that one side does not state are blank.
compared as (
    select
        rests.*,
        steps.is_finer,
        case steps.compared_seconds
            when 86400 then date_trunc('day', rests.usage_start)
            when 3600 then date_trunc('hour', rests.usage_start)
            else date_trunc('minute', rests.usage_start)
        end as interval_start,
        {% for dimension, column in console_dimensions().items() -%}
        case when {{ has_dimension('steps.compared_dimensions', dimension) }} then rests.{{ column }} else '' end as shared_{{ column }}
        {{- ',' if not loop.last }}
        {% endfor %}
    from {{ this }} as rests
    inner join steps
        on
            rests.usage_date = steps.usage_date
            and rests.provider = steps.provider
            and rests.channel = steps.channel
            and rests.bucket_seconds = steps.bucket_seconds
            and rests.stated = steps.stated
),

finer as (
    select
        {{ group_key | join(', ') }},
        {% for amount in amounts + parts -%}
        sum({{ amount }})::bigint as {{ amount }},
        {% endfor -%}
        bool_or(cache_split_assumed) as cache_split_assumed
    from compared
    where is_finer
    group by all
),

-- Rows that differ only in dimensions that the finer side does not state are one group; finer rows are subtracted in
-- order. group_*: sum of the group; so_far_*: cumulative sum, up to this row.
coarser as (
    select
        *,
        {% for amount in amounts + parts -%}
        (sum({{ amount }}) over whole_group)::bigint as group_{{ amount }},
        (sum({{ amount }}) over in_order)::bigint as so_far_{{ amount }},
        {% endfor -%}
        bool_or(cache_split_assumed) over whole_group as group_split_assumed
    from compared
    where not is_finer
    window
        whole_group as (partition by {{ group_key | join(', ') }}),
        in_order as (
            partition by {{ group_key | join(', ') }} order by {{ columns | join(', ') }}
            rows between unbounded preceding and current row
        )
),

beside as (
    select
        coarser.*,
        finer.provider is not null as is_beside,
        coarser.group_split_assumed or coalesce(finer.cache_split_assumed, false) as writes_as_one,
        {% for amount in amounts + parts -%}
        coalesce(finer.{{ amount }}, 0) as finer_{{ amount }}{{ ',' if not loop.last }}
        {% endfor %}
    from coarser
    left join finer using ({{ group_key | join(', ') }})
),

-- If a side does not separate 5 minutes and 1 hour, cache writes are subtracted as one sum, 5-minute writes first.
taken as (
    select
        *,
        {% for amount in amounts + parts if 'cache_write' not in amount -%}
        finer_{{ amount }} as off_{{ amount }},
        {% endfor -%}
        case
            when writes_as_one
                then least(finer_input_tokens_cache_write_5m + finer_input_tokens_cache_write_1h, group_input_tokens_cache_write_5m)
            else finer_input_tokens_cache_write_5m
        end as off_input_tokens_cache_write_5m,
        case
            when writes_as_one
                then greatest(
                    finer_input_tokens_cache_write_5m + finer_input_tokens_cache_write_1h - group_input_tokens_cache_write_5m, 0
                )
            else finer_input_tokens_cache_write_1h
        end as off_input_tokens_cache_write_1h
    from beside
),

checked as (
    select
        *,
        is_beside and least(
            {%- for amount in amounts %}group_{{ amount }} - off_{{ amount }}{{ ', ' if not loop.last }}{% endfor -%}
        ) < 0 as is_negative
    from taken
),

-- Without a request count, the rest has none either.
reduced as (
    select
        file_sha256,
        usage_start,
        usage_date,
        bucket_seconds,
        provider,
        channel,
        model,
        {{ columns | join(', ') }},
        stated,
        {% for amount in amounts + parts -%}
        case
            when not is_beside or {{ amount }} is null then {{ amount }}
            when is_negative then 0
            else greatest(least(so_far_{{ amount }} - off_{{ amount }}, {{ amount }}), 0)
        end as {{ amount }},
        {% endfor -%}
        exported_tokens,
        cache_split_assumed,
        has_finer_rows or is_beside as has_finer_rows,
        rest_was_negative or is_negative as rest_was_negative
    from checked
)

select
    file_sha256,
    usage_start,
    usage_date,
    bucket_seconds,
    provider,
    channel,
    model,
    {{ columns | join(', ') }},
    stated,
    {{ amounts | join(', ') }},
    {{ parts_within_kinds() }},
    exported_tokens,
    cache_split_assumed,
    has_finer_rows,
    rest_was_negative
from reduced
