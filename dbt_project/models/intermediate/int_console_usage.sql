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
            order by exports.reaches_to desc, total_tokens desc, cache_split_assumed, file_sha256 desc
        ) as precedence
    from usage
    inner join exports using (file_sha256)
),

winners as materialized (
    select
        * exclude (precedence, total_tokens),
        total_tokens as exported_tokens,
        false as has_finer_rows,
        false as rest_was_negative
    from ranked
    where precedence = 1
),

{% set step = namespace(n=0, earlier=[]) -%}
{% for grain in grains -%}
{% for stated in statements -%}
{% set step.n = step.n + 1 -%}
{% set n = step.n -%}
{# Finer levels that lack the same columns of this one are taken together; those that lack none come first. #}
{% set passes = [] -%}
{% for absent in statements | reverse if absent in step.earlier | map(attribute='stated') | map('reject', 'in', stated) | map('list') or true -%}
{% set finer_levels = [] -%}
{% for level in step.earlier if stated | reject('in', level.stated) | list == absent -%}
{% do finer_levels.append(level.n) -%}
{% endfor -%}
{% if finer_levels -%}
{% do passes.append({'absent': absent, 'finer_levels': finer_levels}) -%}
{% endif -%}
{% endfor -%}

level_{{ n }}_0 as (
    select *
    from winners
    where
        bucket_seconds = {{ grain }}
        and states_context_window = {{ ('context_window' in stated) | lower }}
        and states_geo_speed = {{ ('geo_speed' in stated) | lower }}
),
