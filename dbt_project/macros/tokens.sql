{# The five disjoint kinds, in the order of every table. #}
{% macro kinds() -%}
    {{ return([
        'input_tokens_no_cache', 'input_tokens_cache_write_5m', 'input_tokens_cache_write_1h',
        'input_tokens_cache_read', 'output_tokens'
    ]) }}
{%- endmacro %}

{# Audio and image tokens, which have their own rates, with the token kind that includes them. #}
{% macro part_kinds() -%}
    {{ return({
        'input_audio_tokens': 'input_tokens_no_cache', 'input_image_tokens': 'input_tokens_no_cache',
        'cache_read_audio_tokens': 'input_tokens_cache_read', 'cache_read_image_tokens': 'input_tokens_cache_read',
        'output_audio_tokens': 'output_tokens', 'output_image_tokens': 'output_tokens'
    }) }}
{%- endmacro %}

{% macro part_columns(alias='') -%}
    {% for part in part_kinds() %}{{ alias ~ '.' if alias }}{{ part }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}

{% macro kind_columns(alias='') -%}
    {% for kind in kinds() %}{{ alias ~ '.' if alias }}{{ kind }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}

{# sum() of a BIGINT is a HUGEINT in DuckDB: cast it back. #}
{% macro sum_kinds() -%}
    {% for kind in kinds() -%}
    sum({{ kind }})::bigint as {{ kind }}{{ ',\n    ' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{% macro sum_parts() -%}
    {% for part in part_kinds() -%}
    sum({{ part }})::bigint as {{ part }}{{ ',\n    ' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{% macro total_of(alias='') -%}
    ({% for kind in kinds() %}{{ alias ~ '.' if alias }}{{ kind }}{{ ' + ' if not loop.last }}{% endfor %})
{%- endmacro %}

{# Finer rows may not separate audio and images from text; in a rest, these parts are limited to their kind. #}
{% macro parts_within_kinds() -%}
    {%- set parts = part_kinds() | list -%}
    {% for part, kind in part_kinds().items() -%}
    {%- set before = parts[loop.index0 - 1] if 'image' in part else none -%}
    least({{ part }}, {{ kind }}{{ ' - least(' ~ before ~ ', ' ~ kind ~ ')' if before }}) as {{ part }}{{ ',\n    ' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
