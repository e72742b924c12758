{#
    Replaces dbt's macro for the rows of a unit test's `given`: a row states only the columns that matter. Missing
    columns are '' (text), 0 (numbers), false (flags) or null (dates, times, lists), as in the raw tables.
#}
{% macro get_fixture_sql(rows, column_name_to_data_types) -%}
    {%- set types = {} -%}
    {%- for column in adapter.get_columns_in_relation(this) -%}
        {%- do types.update({column.name | lower: column.dtype | upper}) -%}
    {%- endfor -%}
    {%- if not types -%}
        {{ exceptions.raise_compiler_error('build ' ~ this ~ ' first: a unit test takes its columns from there') }}
    {%- endif -%}
    {%- set neutral = {'VARCHAR': "''", 'BOOLEAN': 'false', 'DATE': 'null', 'TIMESTAMP': 'null'} -%}
    {%- set unstated = {} -%}
    {%- for name, type in types.items() -%}
        {%- set value = 'null' if type.endswith('[]') else neutral.get(type, '0') -%}
        {%- do unstated.update({name: 'cast(' ~ value ~ ' as ' ~ type ~ ')'}) -%}
    {%- endfor -%}
    {%- for row in rows or [{}] %}
    {%- set stated = unstated.copy() -%}
    {%- do stated.update(format_row(row, types)) -%}
    select
    {%- for name, value in stated.items() %} {{ value }} as "{{ name }}"{{ ',' if not loop.last }}{% endfor %}
    {{- ' limit 0' if not rows else (' union all ' if not loop.last) }}
    {% endfor -%}
{%- endmacro %}
