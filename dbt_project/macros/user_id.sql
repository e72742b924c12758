{# A user id as the setting user_ids requires; the key of the pseudonyms never leaves the private warehouse. #}
{% macro configured_user_id(column) -%}
    case
        when {{ column }} = '' then ''
        when (select user_ids from {{ source('raw', 'settings') }}) = 'drop' then ''
        when (select user_ids from {{ source('raw', 'settings') }}) = 'pseudonym'
            then 'user-' || left(sha256((select pseudonym_key from {{ source('raw', 'pseudonym_key') }}) || {{ column }}), 12)
        else {{ column }}
    end
{%- endmacro %}
