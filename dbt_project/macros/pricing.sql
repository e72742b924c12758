{# Each kind of token, and web searches, with its rate in int_rates. #}
{% macro rate_columns() -%}
    {{ return({
        'input_tokens_no_cache': 'input_no_cache', 'input_tokens_cache_write_5m': 'cache_write_5m',
        'input_tokens_cache_write_1h': 'cache_write_1h', 'input_tokens_cache_read': 'cache_read',
        'output_tokens': 'output', 'web_search_count': 'web_search'
    }) }}
{%- endmacro %}

{# Exact money: never a division, never a float. Rates are USD per million tokens (or searches). #}
{% macro money(tokens, usd_per_mtok) -%}
    cast({{ tokens }} * cast({{ usd_per_mtok }} as decimal(18, 6)) * 0.000001 as decimal(38, 12))
{%- endmacro %}

{# Cost of one usage row under the rates of `rates`; a kind without tokens costs nothing, whether or not it has a rate. #}
{% macro cost_of(usage, rates) -%}
    {% for column, kind in rate_columns().items() -%}
    if({{ usage }}.{{ column }} = 0, 0, {{ money(usage ~ '.' ~ column, rates ~ '.' ~ kind ~ '_usd_per_mtok') }})
    {%- if not loop.last %} + {% endif %}
    {% endfor %}
{%- endmacro %}

{# What the same row would cost without any cache: all of its input at the input rate. #}
{% macro cost_without_cache_of(usage, rates) -%}
    if({{ usage }}.total_tokens = {{ usage }}.output_tokens, 0, {{ money(
        '(' ~ usage ~ '.total_tokens - ' ~ usage ~ '.output_tokens)', rates ~ '.input_no_cache_usd_per_mtok'
    ) }})
    + if({{ usage }}.output_tokens = 0, 0, {{ money(usage ~ '.output_tokens', rates ~ '.output_usd_per_mtok') }})
    + if({{ usage }}.web_search_count = 0, 0, {{ money(usage ~ '.web_search_count', rates ~ '.web_search_usd_per_mtok') }})
{%- endmacro %}

{#
    Where a row of usage stands at a row of a rate card: model, tier and day; a rate without a provider is for all of them, as
    is usage without one. The usage's columns of the tier begin with `stem`, unless `window` stands in for its own;
    `by_kind` where both have one row a kind of token.
#}
{% macro at_rate(usage, card, stem='', window=none, by_kind=false) -%}
    {{ usage }}.model = {{ card }}.model
    and ({{ usage }}.provider = {{ card }}.provider or {{ card }}.provider = '' or {{ usage }}.provider = '')
    and {{ window or usage ~ '.' ~ stem ~ 'context_window' }} = {{ card }}.context_window
    {% for column in ['usage_type', 'inference_geo', 'speed'] -%}
    and {{ usage }}.{{ stem }}{{ column }} = {{ card }}.{{ column }}
    {% endfor -%}
    {% if by_kind -%}
    and {{ usage }}.token_kind = {{ card }}.token_kind
    {% endif -%}
    and {{ usage }}.usage_date >= {{ card }}.valid_from
    and ({{ card }}.valid_to is null or {{ usage }}.usage_date < {{ card }}.valid_to)
{%- endmacro %}
