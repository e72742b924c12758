{# Precedence of the loggers of one call: the one closest to the application counts. #}
{% macro logger_rank(column='logger') -%}
    case {{ column }} when 'tracker' then 1 when 'transcript' then 2 when 'gateway' then 3 else 4 end
{%- endmacro %}

{#
    Whether there are several kinds of loggers, so that two records can be the same call. If all requests come from
    transcripts, as in most homes, there is nothing to compare. (An empty home gets the whole model.)
#}
{% macro several_loggers() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query('select count(distinct logger) from ' ~ source('raw', 'requests')) -%}
    {{ return(found.rows[0][0] != 1) }}
{%- endmacro %}

{# Whether some records are, or may be, copies of calls of other sessions. (An empty home gets the whole model.) #}
{% macro has_copies() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query('select count(*), count(*) filter (where is_copied is not false) from ' ~ source('raw', 'requests')) -%}
    {{ return(found.rows[0][0] == 0 or found.rows[0][1] > 0) }}
{%- endmacro %}

{# Whether some calls have a message id but no request id. (An empty home gets the whole model.) #}
{% macro has_unnamed_calls() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query("select count(*), count(*) filter (where message_id <> '') from " ~ source('raw', 'requests')) -%}
    {{ return(found.rows[0][0] == 0 or found.rows[0][1] > 0) }}
{%- endmacro %}

{# Whether some spans have parents, which may sum up their usage. (An empty home gets the whole model.) #}
{% macro has_spans() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query("select count(*), count(*) filter (where parent_span <> '') from " ~ source('raw', 'requests')) -%}
    {{ return(found.rows[0][0] == 0 or found.rows[0][1] > 0) }}
{%- endmacro %}
