{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    Which rows of overlapping usage exports count, and how much of each.

    1. Of two exports of one grain, for one interval and key, one is in force: the one that reaches further, then the
       greater total, then the one that tells 5-minute from 1-hour writes, then the greater sha256. Never the file's name
       or date. Of two pulls of one bucket the later one is in force, with all of its keys.
    2. Coarser rows (in time, or in the dimensions that they state) keep what is beyond the finer rows inside them, kind by
       kind, compared on the dimensions that both state. Levels are taken from the finest to the coarsest, so each rest is
       counted by the levels above it.
    3. A rest that would be negative in any kind means that the coarser export is the older one: the whole rest is zero
       and the row is flagged.
    4. Console exports and API pages tell of the same usage twice: all of the above is done for each channel alone, and one
       channel is in force for each provider and day. It is the one that the settings prefer, where it has that day; but where
       it has hours or minutes of a part of the day only, and the other one knows of more beyond that part, it is the other.
#}
{%- set columns = console_dimensions() -%}
{%- set counted = kinds() + ['web_search_count', 'request_count'] -%}
{%- set parts = part_kinds() | list -%}
{%- set levels = console_levels() -%}
{%- set ranks = exports_overlap() -%}
{%- set channels = several_channels() -%}
{#- With one level nothing is read twice: rows then stream from raw to table. -#}
{%- set kept = '' if levels | length == 1 else 'materialized ' -%}

with usage as (
    select
        *,
        usage_start::date as usage_date
    from {{ ref('stg_console_usage') }}
    where {{ in_days('usage_start') }}
),

{% if ranks or channels -%}
exports as (
    select * from {{ source('raw', 'exports') }}
),

{% endif -%}
{% if ranks -%}
latest_pulls as (
    select
        buckets.*,
        max(exports.reaches_to) as pulled_at
    from (select distinct provider, bucket_seconds, stated, usage_start from usage where channel = 'api') as buckets
    inner join exports
        on
            exports.is_pull
            and exports.side = 'console'
            and buckets.provider = exports.provider
            and buckets.bucket_seconds = exports.bucket_seconds
            and buckets.stated = exports.stated
            and buckets.usage_start >= exports.covers_from
            and buckets.usage_start < exports.covers_to
    group by all
),

reaches as (
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
                channel, provider, usage_start, bucket_seconds, stated, model_version, api_key, workspace, user_id,
                usage_type, context_window, inference_geo, speed
            order by reaches.reaches_to desc, total_tokens desc, cache_split_assumed, file_sha256 desc
        ) as precedence
    from usage
    inner join reaches using (file_sha256)
    left join latest_pulls using (provider, bucket_seconds, stated, usage_start)
    where usage.channel = 'csv' or latest_pulls.pulled_at is null or reaches.reaches_to >= latest_pulls.pulled_at
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
{% for grain, stated_text in levels -%}
{% set stated = stated_text.split(',') if stated_text else [] -%}
{% set step.n = step.n + 1 -%}
{% set n = step.n -%}
open_{{ n }}_0 as {{ kept }}(
    select *
    from winners
    where bucket_seconds = {{ grain }} and stated = '{{ stated_text }}'
),

{# The finer rows inside this level's, one pass for each set of dimensions that they lack, beginning with none. A finer row
   that lacks a dimension cannot be told apart by it: it is taken off the group of rows that differ only in such ones. -#}
{% set lacking = [] -%}
{% for level in step.earlier -%}
{% set absent = stated | reject('in', level.stated) | list -%}
{% do lacking.append((absent | length, absent | join(','))) -%}
{% endfor -%}
{% set pass = namespace(n=0) -%}
{% for _, absent_text in lacking | sort | unique -%}
{% set absent = absent_text.split(',') if absent_text else [] -%}
{% set inside = [] -%}
{% for level in step.earlier if stated | reject('in', level.stated) | list == absent -%}
{% do inside.append(level.n) -%}
{% endfor -%}
{% set before = 'open_' ~ n ~ '_' ~ pass.n -%}
{% set pass.n = pass.n + 1 -%}
{% set this = n ~ '_' ~ pass.n -%}
{% set group_columns = ['usage_start', 'channel', 'provider'] -%}
{% for dimension in stated if dimension not in absent -%}
{% do group_columns.extend(columns[dimension]) -%}
{% endfor -%}
finer_{{ this }} as (
    select
        time_bucket(to_seconds({{ grain }}), usage_start) as usage_start,
        {{ group_columns[1:] | join(', ') }},
        bool_or(cache_split_assumed) as cache_split_assumed,
        {% for kind in counted + parts -%}
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
        {% for kind in counted + parts -%}
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
            order by {% for dimension in absent %}coarser.{{ columns[dimension][0] }}{{ ', ' if not loop.last }}{% endfor %}
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
            {% for kind in counted + parts -%}
            finer_{{ kind }}, group_{{ kind }}, so_far_{{ kind }}{{ ',' if not loop.last }}
            {% endfor %}
        )
        replace (
            {% for kind in counted + parts -%}
            case
                -- a source without a count of requests has none in its rest either
                when not is_beside or {{ kind }} is null then {{ kind }}
                when is_negative then 0
                else greatest(least(so_far_{{ kind }} - finer_{{ kind }}, {{ kind }}), 0)
            end as {{ kind }},
            {% endfor -%}
            has_finer_rows or is_beside as has_finer_rows,
            rest_was_negative or is_negative as rest_was_negative
        )
    from checked_{{ this }}
),

{% endfor -%}
-- A finer row may not tell audio and images from text: of a rest there are never more of them than of their kind.
rest_{{ n }} as (
    select
        * replace (
            {% for part, kind in part_kinds().items() -%}
            {%- set before = parts[loop.index0 - 1] if 'image' in part else none -%}
            least({{ part }}, {{ kind }}{{ ' - least(' ~ before ~ ', ' ~ kind ~ ')' if before }}) as {{ part }}{{ ',' if not loop.last }}
            {% endfor %}
        )
    from open_{{ n }}_{{ pass.n }}
),

{% do step.earlier.append({'n': n, 'stated': stated}) -%}
{% endfor -%}
rests as {{ 'materialized ' if channels }}(
    {% for level in step.earlier -%}
    select * from rest_{{ level.n }}{{ ' union all by name' if not loop.last }}
    {% endfor %}
),

{% if channels -%}
-- What each channel has of a day: its tokens, and the part of the day of which it speaks.
channel_days as (
    select
        rests.provider,
        rests.usage_date,
        rests.channel,
        rests.channel = {{ preferred_channel('rests.provider') }} as is_preferred,
        sum({{ total_of('rests') }}) as total_tokens,
        least(min(rests.usage_start), min(exports.covers_from)) as first_start,
        greatest(max(rests.usage_start + to_seconds(rests.bucket_seconds)), max(exports.covers_to)) as last_end
    from rests
    left join exports using (file_sha256)
    group by rests.provider, rests.usage_date, rests.channel
),

-- Days that the preferred channel has in part: the other one has more tokens, and not only inside that part.
given_over as (
    select distinct
        preferred.provider,
        preferred.usage_date
    from channel_days as preferred
    inner join channel_days as other
        on
            preferred.provider = other.provider
            and preferred.usage_date = other.usage_date
            and preferred.is_preferred
            and not other.is_preferred
            and other.total_tokens > preferred.total_tokens
    inner join rests
        on
            other.provider = rests.provider
            and other.usage_date = rests.usage_date
            and other.channel = rests.channel
            and {{ total_of('rests') }} > 0
    where
        (
            preferred.first_start > preferred.usage_date::timestamp
            or preferred.last_end < preferred.usage_date::timestamp + interval 1 day
        )
        and (
            rests.bucket_seconds = 86400
            or rests.usage_start + to_seconds(rests.bucket_seconds) <= preferred.first_start
            or rests.usage_start >= preferred.last_end
        )
),

channels_in_force as (
    select
        channel_days.provider,
        channel_days.usage_date,
        coalesce(
            max(channel_days.channel) filter (where channel_days.is_preferred = (given_over.usage_date is null)),
            max(channel_days.channel)
        ) as channel_in_force
    from channel_days
    left join given_over using (provider, usage_date)
    group by channel_days.provider, channel_days.usage_date
),

final as (
    select
        rests.*,
        rests.channel = channels_in_force.channel_in_force as is_in_force
    from rests
    inner join channels_in_force using (provider, usage_date)
)
{%- else -%}
final as (
    select
        *,
        true as is_in_force
    from rests
)
{%- endif %}

select
    *,
    {{ total_of() }} as total_tokens
from final
