{# What databases say in different words: DuckDB's here, and Spark's beside it. #}

{# Each day from one date to another, one row each: a column of a select that has no other such column. #}
{% macro each_day(first, last) -%}
    {{ adapter.dispatch('each_day')(first, last) }}
{%- endmacro %}

{% macro duckdb__each_day(first, last) -%}
    unnest(generate_series({{ first }}::timestamp, {{ last }}::timestamp, interval 1 day))::date
{%- endmacro %}

{% macro default__each_day(first, last) -%}
    explode(sequence({{ first }}, {{ last }}, interval 1 day))
{%- endmacro %}

{# A moment as microseconds, to measure how far two are apart. #}
{% macro microseconds(moment) -%}
    {{ adapter.dispatch('microseconds')(moment) }}
{%- endmacro %}

{% macro duckdb__microseconds(moment) -%}
    epoch_us({{ moment }})
{%- endmacro %}

{% macro default__microseconds(moment) -%}
    unix_micros({{ moment }})
{%- endmacro %}

{% macro seconds_after(moment, seconds) -%}
    {{ adapter.dispatch('seconds_after')(moment, seconds) }}
{%- endmacro %}

{% macro duckdb__seconds_after(moment, seconds) -%}
    {{ moment }} + to_seconds({{ seconds }})
{%- endmacro %}

{% macro default__seconds_after(moment, seconds) -%}
    timestampadd(second, {{ seconds }}, {{ moment }})
{%- endmacro %}

{# `value` of the row that comes last in `order`, also where it is null. #}
{% macro max_by_or_null(value, order) -%}
    {{ adapter.dispatch('max_by_or_null')(value, order) }}
{%- endmacro %}

{% macro duckdb__max_by_or_null(value, order) -%}
    arg_max_null({{ value }}, {{ order }})
{%- endmacro %}

{% macro default__max_by_or_null(value, order) -%}
    max_by({{ value }}, {{ order }})
{%- endmacro %}

{# A list of those of `items` that are not null. #}
{% macro list_of_present(items) -%}
    {{ adapter.dispatch('list_of_present')(items) }}
{%- endmacro %}

{% macro duckdb__list_of_present(items) -%}
    list_filter([{{ items | join(', ') }}], lambda item: item is not null)
{%- endmacro %}

{% macro default__list_of_present(items) -%}
    array_compact(array({{ items | join(', ') }}))
{%- endmacro %}

{# Whether a path fits a pattern of the shell. #}
{% macro fits_glob(path, pattern) -%}
    {{ adapter.dispatch('fits_glob')(path, pattern) }}
{%- endmacro %}

{% macro duckdb__fits_glob(path, pattern) -%}
    {{ path }} glob {{ pattern }}
{%- endmacro %}

{# Without brackets of characters. #}
{% macro default__fits_glob(path, pattern) -%}
    {{ path }} rlike concat('^', replace(replace(replace({{ pattern }}, '.', '[.]'), '*', '.*'), '?', '.'), '$')
{%- endmacro %}

{# A JSON object as text: name -> expression. #}
{% macro json_text(values) -%}
    {{ adapter.dispatch('json_text')(values) }}
{%- endmacro %}

{% macro duckdb__json_text(values) -%}
    to_json({ {%- for name, value in values.items() %}'{{ name }}': {{ value }}{{ ', ' if not loop.last }}{% endfor -%} })::varchar
{%- endmacro %}

{% macro default__json_text(values) -%}
    to_json(named_struct({% for name, value in values.items() %}'{{ name }}', {{ value }}{{ ', ' if not loop.last }}{% endfor %}))
{%- endmacro %}
