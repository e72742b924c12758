{#
    api_key, workspace and key_origin of a log record: from the first relation of `stating` that names a key
    (stated), else the key that the settings assign to the file (declared), else ''. The relations have api_key and
    workspace.
#}
{% macro paying_key(stating, scoped) -%}
    {%- set stated -%}
        coalesce({% for name in stating %}nullif({{ name }}.api_key, ''), {% endfor %}'')
    {%- endset -%}
    {%- set stated_workspace -%}
        {% for name in stating %}nullif({{ name }}.workspace, ''), {% endfor %}
    {%- endset -%}
    coalesce(nullif({{ stated }}, ''), {{ scoped }}.scope_api_key, '') as api_key,
        if(
            {{ stated }} = '',
            coalesce(nullif({{ scoped }}.scope_workspace, ''), {{ stated_workspace }} ''),
            coalesce({{ stated_workspace }} '')
        ) as workspace,
        case
            when {{ stated }} <> '' then 'stated'
            when {{ scoped }}.scope_api_key <> '' then 'declared'
            else ''
        end as key_origin
{%- endmacro %}

{# metered or subscription: from the settings of the key, else of the project. #}
{% macro billing_mode_of(api_key, project) -%}
    coalesce(
        map_extract_value((
            select map_from_entries(list((api_key, billing_mode))) from {{ source('raw', 'billing_modes') }}
            where api_key <> ''
        ), {{ api_key }}),
        map_extract_value((
            select map_from_entries(list((project, billing_mode))) from {{ source('raw', 'billing_modes') }}
            where project <> ''
        ), {{ project }}),
        'metered'
    )
{%- endmacro %}
