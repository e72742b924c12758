{# The five disjoint kinds, in the order of every table. #}
{% macro kinds() -%}
    {{ return([
        'input_tokens_no_cache', 'input_tokens_cache_write_5m', 'input_tokens_cache_write_1h',
        'input_tokens_cache_read', 'output_tokens'
    ]) }}
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

{% macro total_of(alias='') -%}
    ({% for kind in kinds() %}{{ alias ~ '.' if alias }}{{ kind }}{{ ' + ' if not loop.last }}{% endfor %})
{%- endmacro %}
