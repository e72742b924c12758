{#
    Tables of which a build replaces only what it was asked to: the days, responses and sessions that new files touch.
    pipeline/transform.py writes schema `scope` before each build; a first build has everything in scope.
#}
{% macro in_scope(column, of='days') -%}
    {#- Unit tests give a model all that it may see. -#}
    {%- if model.resource_type == 'unit_test' -%}
        true
    {%- else -%}
        {{ column }} in (select item from scope.{{ of }})
    {%- endif -%}
{%- endmacro %}

{#
    Replace the rows in scope and leave the others: `scope_column` is an expression over the table's columns, `scope_of`
    names the table of schema `scope`. Delete and insert are one transaction.
#}
{% materialization scoped, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set scope_of = config.get('scope_of', 'days') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% if existing is none %}
        {% call statement('main') -%}
            create table {{ target_relation }} as ({{ sql }})
        {%- endcall %}
        {% do persist_docs(target_relation, model) %}
    {% else %}
        {% call statement('delete') -%}
            delete from {{ target_relation }} where {{ config.require('scope_column') }} in (select item from scope.{{ scope_of }})
        {%- endcall %}
        {% call statement('main') -%}
            insert into {{ target_relation }} by name ({{ sql }})
        {%- endcall %}
    {% endif %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
