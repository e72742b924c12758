{# Precedence of the loggers of one call: the one that stands nearest to the application is believed. #}
{% macro logger_rank(column='logger') -%}
    case {{ column }} when 'tracker' then 1 when 'transcript' then 2 when 'gateway' then 3 else 4 end
{%- endmacro %}

{#
    Whether requests come from more than one kind of logger, so that two records may tell of one call. Where all come from
    transcripts, as in most homes, there is nothing to compare. (An empty home gets the whole model.)
#}
{% macro several_loggers() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query('select count(distinct logger) from ' ~ source('raw', 'requests')) -%}
    {{ return(found.rows[0][0] != 1) }}
{%- endmacro %}

{# Whether some records are, or may be, copies that other sessions hold of a call. (An empty home gets the whole model.) #}
{% macro has_copies() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query('select count(*), count(*) filter (where is_copied is not false) from ' ~ source('raw', 'requests')) -%}
    {{ return(found.rows[0][0] == 0 or found.rows[0][1] > 0) }}
{%- endmacro %}

{# Whether of some calls only the message's id tells, without a request's. (An empty home gets the whole model.) #}
{% macro has_unnamed_calls() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query("select count(*), count(*) filter (where message_id <> '') from " ~ source('raw', 'requests')) -%}
    {{ return(found.rows[0][0] == 0 or found.rows[0][1] > 0) }}
{%- endmacro %}

{# Whether spans stand below others, whose usage these may add up. (An empty home gets the whole model.) #}
{% macro has_spans() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query("select count(*), count(*) filter (where parent_span <> '') from " ~ source('raw', 'requests')) -%}
    {{ return(found.rows[0][0] == 0 or found.rows[0][1] > 0) }}
{%- endmacro %}
