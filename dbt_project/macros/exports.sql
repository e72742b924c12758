{# The dimensions of a provider's usage, and the column of each. #}
{% macro console_dimensions() -%}
    {{ return({
        'api_key': 'api_key', 'context_window': 'context_window', 'inference_geo': 'inference_geo',
        'model': 'model_version', 'speed': 'speed', 'usage_type': 'usage_type', 'user_id': 'user_id',
        'workspace': 'workspace'
    }) }}
{%- endmacro %}

{# The dimensions that a row of raw.console_usage states: from its file, else from the columns of its Console export. #}
{% macro stated_dimensions(usage) -%}
    coalesce(
        {{ usage }}.stated,
        concat_ws(
            ',', 'api_key', case when {{ usage }}.states_context_window then 'context_window' end,
            case when {{ usage }}.states_geo_speed then 'inference_geo' end, 'model',
            case when {{ usage }}.states_geo_speed then 'speed' end, 'usage_type', 'workspace'
        )
    )
{%- endmacro %}

{# The dimensions of a provider's bill, and the columns of each. #}
{% macro cost_dimensions() -%}
    {{ return({
        'api_key': ['api_key'], 'kind': ['model', 'token_kind'], 'user_id': ['user_id'], 'workspace': ['workspace']
    }) }}
{%- endmacro %}

{# The dimensions that a row of a bill states, as in raw.exports: sorted and joined by commas. #}
{% macro stated_cost_dimensions() -%}
    concat_ws(
        ',', case when states_api_key then 'api_key' end, case when states_kind then 'kind' end,
        case when states_user_id then 'user_id' end, case when states_workspace then 'workspace' end
    )
{%- endmacro %}

{# Whether a comma-separated list has this dimension; no dimension's name is part of another's. #}
{% macro has_dimension(list, dimension) -%}
    {{ list }} like '%{{ dimension }}%'
{%- endmacro %}

{# The number of dimensions in a list. #}
{% macro number_of_dimensions(list) -%}
    (case when {{ list }} = '' then 0 else 1 + length({{ list }}) - length(replace({{ list }}, ',', '')) end)
{%- endmacro %}

{# Rounding tolerance of one billed amount: half a cent in Console exports, less than the price of a token in others. #}
{% macro rounding_usd(provider, channel) -%}
    (case when {{ provider }} = 'anthropic' and {{ channel }} = 'csv' then 0.005 else 0.000000001 end)::decimal(38, 12)
{%- endmacro %}
