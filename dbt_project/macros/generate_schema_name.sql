{# A model's schema without the target's prefix: people query marts.daily_usage. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}
