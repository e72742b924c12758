{#
    Tables built in steps that depend on each other. The table starts as a copy of the model `start` for the days in
    scope. Then the model's SQL runs once per step of int_export_steps (of one `side`), in order: it reads the table
    itself, and its rows replace those with the same `unique_key`. The SQL is the same for all steps. Everything is
    one transaction.
#}
{% macro current_step() -%}
    {{ 1 if model.resource_type == 'unit_test' else '(select item from scope.step)' }}
{%- endmacro %}

{% materialization stepwise, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set in_scope = config.require('scope_column') ~ ' in (select item from scope.days)' if is_increment() else 'true' -%}
    {%- set start = 'select * from ' ~ ref(config.require('start')) -%}
    {%- set key = config.require('unique_key') | join(', ') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% if existing is none or not is_increment() %}
        {% call statement('main') -%}
            create or replace table {{ target_relation }} as ({{ start }})
        {%- endcall %}
        {% do persist_docs(target_relation, model) %}
    {% else %}
        {% call statement('delete') -%}
            delete from {{ target_relation }} where {{ in_scope }}
        {%- endcall %}
        {% call statement('main') -%}
            insert into {{ target_relation }} by name ({{ start }})
        {%- endcall %}
    {% endif %}
    {%- set steps = run_query(
        'select distinct step from ' ~ ref('int_export_steps')
        ~ " where side = '" ~ config.require('side') ~ "' and " ~ in_scope ~ ' order by step'
    ) -%}
    {% for (step,) in steps.rows %}
        {% call statement('step') -%}
            delete from scope.step;
            insert into scope.step values ({{ step }});
            create or replace temp table step_rows as ({{ sql }});
            delete from {{ target_relation }} where ({{ key }}) in (select {{ key }} from step_rows);
            insert into {{ target_relation }} by name (select * from step_rows);
            drop table step_rows;
        {%- endcall %}
    {% endfor %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
