{#
    Which rows of overlapping usage exports count, and how much of each.

    1. Of two exports of one grain, for one interval and key, one is in force: the one that reaches further, then the
       greater total, then the greater sha256. Never the file's name or date.
    2. Coarser rows (in time, or in the columns that they state) keep what is beyond the finer rows inside them, kind by
       kind. Levels are taken from the finest to the coarsest, so each rest is counted by the levels above it.
    3. A rest that would be negative in any kind means that the coarser export is the older one: the whole rest is zero
       and the row is flagged.
#}
{%- set grains = [60, 3600, 86400] -%}
{%- set stated = [('true', 'true'), ('true', 'false'), ('false', 'true'), ('false', 'false')] -%}
{%- set counted = kinds() + ['web_search_count'] -%}
{%- set plain_kinds = ['input_tokens_no_cache', 'input_tokens_cache_read', 'output_tokens', 'web_search_count'] -%}

with usage as (
    select * from {{ ref('stg_console_usage') }}
),

exports as (
    select
        file_sha256,
        max(usage_start + to_seconds(bucket_seconds)) as reaches_to
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
            order by exports.reaches_to desc, total_tokens desc, file_sha256 desc
        ) as precedence
    from usage
    inner join exports using (file_sha256)
),

winners as materialized (
    select
        * exclude (precedence),
        row_number() over () as row_id
    from ranked
    where precedence = 1
),

kept_0 as (
    select
        *,
        false as has_finer_rows,
        false as rest_was_negative
    from winners
    where false
),

{% set step = namespace(n=0) -%}
{% for grain in grains -%}
{% for context_window, geo_speed in stated -%}
{% set step.n = step.n + 1 -%}
{# Rows of this level, with the finer rows inside each of them. A finer row that does not state a column which this
   level does state cannot be told apart by it: it is taken off the group of rows that differ only in such columns. #}
level_{{ step.n }} as materialized (
    select *
    from winners
    where
        bucket_seconds = {{ grain }}
        and states_context_window = {{ context_window }}
        and states_geo_speed = {{ geo_speed }}
),

exact_{{ step.n }} as (
    select
        level.row_id,
        bool_or(finer.cache_split_assumed) as cache_split_assumed,
        {% for kind in counted -%}
        sum(finer.{{ kind }})::bigint as {{ kind }}{{ ',' if not loop.last }}
        {% endfor %}
    from level_{{ step.n }} as level
    inner join kept_{{ step.n - 1 }} as finer
        on
            level.usage_start = time_bucket(to_seconds({{ grain }}), finer.usage_start)
            and level.model_version = finer.model_version
            and level.api_key = finer.api_key
            and level.workspace = finer.workspace
            and level.usage_type = finer.usage_type
            {% if context_window == 'true' -%}
            and finer.states_context_window
            and level.context_window = finer.context_window
            {% endif -%}
            {% if geo_speed == 'true' -%}
            and finer.states_geo_speed
            and level.inference_geo = finer.inference_geo
            and level.speed = finer.speed
            {% endif %}
    group by level.row_id
),

loose_{{ step.n }} as (
    select
        time_bucket(to_seconds({{ grain }}), usage_start) as usage_start,
        model_version,
        api_key,
        workspace,
        usage_type,
        bool_or(cache_split_assumed) as cache_split_assumed,
        {% for kind in counted -%}
        sum({{ kind }})::bigint as {{ kind }}{{ ',' if not loop.last }}
        {% endfor %}
    from kept_{{ step.n - 1 }}
    where
        not (states_context_window or not {{ context_window }})
        or not (states_geo_speed or not {{ geo_speed }})
    group by all
),

-- Cache writes are compared as one sum where either side does not tell 5 minutes from 1 hour.
beyond_exact_{{ step.n }} as (
    select
        level.*,
        exact.row_id is not null as has_exact,
        coalesce(exact.cache_split_assumed, false) or level.cache_split_assumed as writes_as_one,
        {% for kind in plain_kinds -%}
        level.{{ kind }} - coalesce(exact.{{ kind }}, 0) as beyond_{{ kind }},
        {% endfor -%}
        level.input_tokens_cache_write_5m - coalesce(exact.input_tokens_cache_write_5m, 0) as beyond_5m,
        level.input_tokens_cache_write_1h - coalesce(exact.input_tokens_cache_write_1h, 0) as beyond_1h
    from level_{{ step.n }} as level
    left join exact_{{ step.n }} as exact on level.row_id = exact.row_id
),

split_{{ step.n }} as (
    select
        * exclude (beyond_5m, beyond_1h),
        case
            when not (has_exact and writes_as_one) then beyond_1h
            else least(greatest(beyond_5m + beyond_1h, 0), input_tokens_cache_write_1h)
        end as beyond_input_tokens_cache_write_1h,
        case
            when not (has_exact and writes_as_one) then beyond_5m
            else beyond_5m + beyond_1h - least(greatest(beyond_5m + beyond_1h, 0), input_tokens_cache_write_1h)
        end as beyond_input_tokens_cache_write_5m
    from beyond_exact_{{ step.n }}
),

checked_{{ step.n }} as (
    select
        *,
        has_exact and least(
            {%- for kind in counted %}beyond_{{ kind }}{{ ', ' if not loop.last }}{% endfor -%}
        ) < 0 as exact_is_negative
    from split_{{ step.n }}
),

-- The unattributable finer tokens are taken off the group's rows one after the other.
grouped_{{ step.n }} as (
    select
        checked.*,
        loose.usage_start is not null as has_loose,
        {% for kind in counted -%}
        if(exact_is_negative, 0, beyond_{{ kind }}) as open_{{ kind }},
        coalesce(loose.{{ kind }}, 0) as loose_{{ kind }},
        sum(if(exact_is_negative, 0, beyond_{{ kind }})) over in_order as filled_{{ kind }},
        sum(if(exact_is_negative, 0, beyond_{{ kind }})) over whole_group as group_{{ kind }}{{ ',' if not loop.last }}
        {% endfor %}
    from checked_{{ step.n }} as checked
    left join loose_{{ step.n }} as loose
        on
            checked.usage_start = loose.usage_start
            and checked.model_version = loose.model_version
            and checked.api_key = loose.api_key
            and checked.workspace = loose.workspace
            and checked.usage_type = loose.usage_type
    window
        whole_group as (
            partition by
                checked.usage_start, checked.model_version, checked.api_key, checked.workspace, checked.usage_type
        ),
        in_order as (
            partition by
                checked.usage_start, checked.model_version, checked.api_key, checked.workspace, checked.usage_type
            order by checked.context_window, checked.inference_geo, checked.speed
            rows between unbounded preceding and current row
        )
),

settled_{{ step.n }} as (
    select
        *,
        has_loose and least(
            {%- for kind in counted %}group_{{ kind }} - loose_{{ kind }}{{ ', ' if not loop.last }}{% endfor -%}
        ) < 0 as loose_is_negative
    from grouped_{{ step.n }}
),

kept_{{ step.n }} as materialized (
    select * from kept_{{ step.n - 1 }}
    union all by name
    select
        file_sha256, usage_start, bucket_seconds, provider, model, model_version, api_key, workspace, usage_type,
        context_window, inference_geo, speed, states_context_window, states_geo_speed,
        {% for kind in counted -%}
        if(
            loose_is_negative, 0,
            greatest(least(filled_{{ kind }} - loose_{{ kind }}, open_{{ kind }}), 0)
        )::bigint as {{ kind }},
        {% endfor -%}
        cache_split_assumed,
        total_tokens,
        row_id,
        has_exact or has_loose as has_finer_rows,
        exact_is_negative or loose_is_negative as rest_was_negative
    from settled_{{ step.n }}
){{ ',' }}

{% endfor -%}
{% endfor %}
final as (
    select
        * exclude (total_tokens, row_id),
        total_tokens as exported_tokens,
        {{ total_of() }} as total_tokens
    from kept_{{ step.n }}
)

select * from final
