{#
    The levels (grain, whether context_window and whether geo and speed are stated) of the exports in scope. Comparing all
    twelve takes a hundred times as much SQL as the one or two that a landing usually holds. Without any, an empty list:
    then, and in unit tests, the model is written out for all levels.
#}
{% macro console_levels() -%}
    {%- set levels = [] -%}
    {%- if execute and model.resource_type != 'unit_test' -%}
        {%- set found = run_query(
            'select distinct bucket_seconds, states_context_window, states_geo_speed from '
            ~ source('raw', 'console_usage') ~ ' where ' ~ in_scope('usage_start::date')
        ) -%}
        {%- for row in found.rows -%}
            {%- do levels.append([row[0] | int, row[1], row[2]]) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(levels) }}
{%- endmacro %}
