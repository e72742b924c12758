{# Constructs that databases spell differently: `duckdb__` is DuckDB's version, `default__` Spark's. #}

{# All columns of a relation except `columns`. #}
{% macro star_except(columns, relation='') -%}
    {{ adapter.dispatch('star_except')(columns, relation) }}
{%- endmacro %}

{% macro duckdb__star_except(columns, relation) -%}
    {{ relation ~ '.' if relation }}* exclude ({{ columns | join(', ') }})
{%- endmacro %}

{% macro default__star_except(columns, relation) -%}
    {{ relation ~ '.' if relation }}* except ({{ columns | join(', ') }})
{%- endmacro %}

{# One row for each day from one date to another; at most one such column per select. #}
{% macro each_day(first, last) -%}
    {{ adapter.dispatch('each_day')(first, last) }}
{%- endmacro %}

{% macro duckdb__each_day(first, last) -%}
    unnest(generate_series({{ first }}::timestamp, {{ last }}::timestamp, interval 1 day))::date
{%- endmacro %}

{% macro default__each_day(first, last) -%}
    explode(sequence({{ first }}, {{ last }}, interval 1 day))
{%- endmacro %}

{# A timestamp as microseconds, to compute differences. #}
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

{# `value` of the row with the greatest `order`, even if it is null. #}
{% macro max_by_or_null(value, order) -%}
    {{ adapter.dispatch('max_by_or_null')(value, order) }}
{%- endmacro %}

{% macro duckdb__max_by_or_null(value, order) -%}
    arg_max_null({{ value }}, {{ order }})
{%- endmacro %}

{% macro default__max_by_or_null(value, order) -%}
    max_by({{ value }}, {{ order }})
{%- endmacro %}

{# A list of the non-null `items`. #}
{% macro list_of_present(items) -%}
    {{ adapter.dispatch('list_of_present')(items) }}
{%- endmacro %}

{% macro duckdb__list_of_present(items) -%}
    list_filter([{{ items | join(', ') }}], lambda item: item is not null)
{%- endmacro %}

{% macro default__list_of_present(items) -%}
    array_compact(array({{ items | join(', ') }}))
{%- endmacro %}

{# Whether a path matches a shell pattern. #}
{% macro fits_glob(path, pattern) -%}
    {{ adapter.dispatch('fits_glob')(path, pattern) }}
{%- endmacro %}

{% macro duckdb__fits_glob(path, pattern) -%}
    {{ path }} glob {{ pattern }}
{%- endmacro %}

{# Without character classes in brackets. #}
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
