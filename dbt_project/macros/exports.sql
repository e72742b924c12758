{# The dimensions by which a provider's usage is told apart, and the column that holds each. #}
{% macro console_dimensions() -%}
    {{ return({
        'api_key': 'api_key', 'context_window': 'context_window', 'inference_geo': 'inference_geo',
        'model': 'model_version', 'speed': 'speed', 'usage_type': 'usage_type', 'user_id': 'user_id',
        'workspace': 'workspace'
    }) }}
{%- endmacro %}

{# What a row of raw.console_usage states: as its file says, else as its Console export has the columns. #}
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

{# The dimensions by which a provider's bill is told apart, and the columns that hold each. #}
{% macro cost_dimensions() -%}
    {{ return({
        'api_key': ['api_key'], 'kind': ['model', 'token_kind'], 'user_id': ['user_id'], 'workspace': ['workspace']
    }) }}
{%- endmacro %}

{# What a row of a bill states, as in raw.exports: sorted and joined by commas. #}
{% macro stated_cost_dimensions() -%}
    concat_ws(
        ',', case when states_api_key then 'api_key' end, case when states_kind then 'kind' end,
        case when states_user_id then 'user_id' end, case when states_workspace then 'workspace' end
    )
{%- endmacro %}

{# Whether a list of dimensions, joined by commas, has this one: no name of a dimension is a part of another. #}
{% macro has_dimension(list, dimension) -%}
    {{ list }} like '%{{ dimension }}%'
{%- endmacro %}

{# How many dimensions a list has. #}
{% macro number_of_dimensions(list) -%}
    (case when {{ list }} = '' then 0 else 1 + length({{ list }}) - length(replace({{ list }}, ',', '')) end)
{%- endmacro %}

{# What rounding leaves open in one amount of a bill: half a cent in Console exports, less than the price of a token in others. #}
{% macro rounding_usd(provider, channel) -%}
    (case when {{ provider }} = 'anthropic' and {{ channel }} = 'csv' then 0.005 else 0.000000001 end)::decimal(38, 12)
{%- endmacro %}
