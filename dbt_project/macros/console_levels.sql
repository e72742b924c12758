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
            ~ source('raw', 'console_usage') ~ ' where ' ~ in_days('usage_start')
        ) -%}
        {%- for row in found.rows -%}
            {%- do levels.append([row[0] | int, row[1], row[2]]) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(levels) }}
{%- endmacro %}

{#
    Whether two exports in scope share a day, so that rows of one may stand for those of the other. Where none do, as in
    most nights, ranking them would sort every row for nothing.
#}
{% macro exports_overlap() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query(
        'select count(distinct file_sha256) as files from ' ~ source('raw', 'console_usage')
        ~ ' where ' ~ in_days('usage_start') ~ ' group by usage_start::date order by files desc limit 1'
    ) -%}
    {{ return(not found.rows or found.rows[0][0] > 1) }}
{%- endmacro %}
