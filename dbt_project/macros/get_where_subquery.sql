{#
    Data tests of a scoped table check only the rows that this build replaced; other rows were tested when they were
    built. (dbt calls this macro for the relation of every generic test.)
#}
{% macro get_where_subquery(relation) -%}
    {%- set tested = graph.nodes.get(model.get('attached_node')) if execute else none -%}
    {%- set conditions = [] -%}
    {%- if config.get('where') -%}
        {%- do conditions.append(config.get('where')) -%}
    {%- endif -%}
    {%- if tested and tested.config.materialized in ('scoped', 'stepwise') and is_increment() -%}
        {%- do conditions.append(
            tested.config.get('scope_column') ~ ' in (select item from scope.' ~ tested.config.get('scope_of', 'days') ~ ')'
        ) -%}
    {%- endif -%}
    {%- if conditions -%}
        (select * from {{ relation }} where ({{ conditions | join(') and (') }})) as dbt_subquery
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}
