{#
    Tables of which a build replaces only the increment: days, responses and sessions touched by new files.
    pipeline/marts/dbt_runner.py writes the increment to schema `scope` before each build; a first build has
    everything in scope. dbt run by hand ignores schema `scope` and builds everything.
#}

{# Whether a run of the pipeline builds its increment: only its profile has this target. #}
{% macro is_increment() -%}
    {{ return(target.name == 'increment' and not flags.FULL_REFRESH) }}
{%- endmacro %}

{# At the start of dbt: after a build by hand, the next run rebuilds everything. #}
{% macro note_build_by_hand() -%}
    {%- if execute and target.name != 'increment' and flags.WHICH in ('build', 'run', 'retry') -%}
        update scope.versions set version = version + 1, fingerprint = '' where stage = 'marts'
    {%- endif -%}
{%- endmacro %}

{% macro in_scope(column, of='days') -%}
    {#- In unit tests, all given rows are in scope. -#}
    {%- if model.resource_type == 'unit_test' or not is_increment() -%}
        true
    {%- else -%}
        {{ column }} in (select item from scope.{{ of }})
    {%- endif -%}
{%- endmacro %}

{#
    The days in scope as a condition on a timestamp column. It also contains the start and end of each run of days
    as constants, which DuckDB compares with the statistics of row groups: a day's build reads only that day's rows
    (of 3 million rows: 0.01 s instead of 3 s).
#}
{% macro in_days(column) -%}
    {{ in_scope(column ~ '::date') }}
    {%- if execute and model.resource_type != 'unit_test' and is_increment() -%}
        {%- set runs = run_query(
            'select min(item)::varchar, (max(item) + 1)::varchar from ('
            ~ 'select item, item - (row_number() over (order by item))::integer as run from scope.days'
            ~ ') group by run order by min(item)'
        ).rows -%}
        {%- set conditions = [] -%}
        {#- many conditions take longer to plan than they save: then one range from the first day to the last -#}
        {%- for first, after in ([] if not runs else runs if runs | length <= 30 else [[runs[0][0], runs[-1][1]]]) -%}
            {%- do conditions.append('(' ~ column ~ " >= timestamp '" ~ first ~ "' and " ~ column ~ " < timestamp '" ~ after ~ "')") -%}
        {%- endfor -%}
        {%- if conditions %} and ({{ conditions | join(' or ') }}){% endif -%}
    {%- endif -%}
{%- endmacro %}

{#
    Replaces the rows in scope (by hand: all rows). `scope_column` is an expression over the table's columns,
    `scope_of` a table of schema `scope`. Delete and insert are one transaction.
#}
{% materialization scoped, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set scope_of = config.get('scope_of', 'days') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% if existing is none or not is_increment() %}
        {%- if existing is not none and not existing.is_table -%}
            {% do adapter.drop_relation(existing) %}
        {%- endif -%}
        {% call statement('main') -%}
            create or replace table {{ target_relation }} as ({{ sql }})
        {%- endcall %}
        {% do persist_docs(target_relation, model) %}
    {% elif scope_of != 'days' and not run_query('select 1 from scope.' ~ scope_of ~ ' limit 1').rows %}
        {#- most builds have no calls or no sessions in scope: planning the query would take longer than running it -#}
        {% call statement('main') -%}
            select 1
        {%- endcall %}
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
