{# Each token kind, and web searches, with the name of its text rate in int_rates. #}
{% macro rate_columns() -%}
    {{ return({
        'input_tokens_no_cache': 'input_no_cache', 'input_tokens_cache_write_5m': 'cache_write_5m',
        'input_tokens_cache_write_1h': 'cache_write_1h', 'input_tokens_cache_read': 'cache_read',
        'output_tokens': 'output', 'web_search_count': 'web_search'
    }) }}
{%- endmacro %}

{# Rate name -> its tokens in a row of `usage`: each kind without its parts, and the parts. #}
{% macro priced_tokens(usage='') -%}
    {%- set of = usage ~ '.' if usage else '' -%}
    {%- set tokens = {} -%}
    {%- for column, kind in rate_columns().items() -%}
        {%- set terms = [of ~ column] -%}
        {%- for part, whole in part_kinds().items() if whole == column -%}
            {%- do terms.append(of ~ part) -%}
        {%- endfor -%}
        {%- do tokens.update({kind: terms[0] if terms | length == 1 else '(' ~ terms | join(' - ') ~ ')'}) -%}
    {%- endfor -%}
    {%- for part in part_kinds() -%}
        {%- do tokens.update({part.removesuffix('_tokens'): of ~ part}) -%}
    {%- endfor -%}
    {{ return(tokens) }}
{%- endmacro %}

{# Exact money: never a division, never a float. Rates are USD per million tokens (or searches). #}
{% macro money(tokens, usd_per_mtok) -%}
    cast({{ tokens }} * cast({{ usd_per_mtok }} as decimal(18, 6)) * 0.000001 as decimal(38, 12))
{%- endmacro %}

{# Cost of `amounts` (rate name -> tokens); zero tokens cost nothing, even without a rate. #}
{% macro cost_of_amounts(amounts, rates) -%}
    {%- set of = rates ~ '.' if rates else '' -%}
    {% for rate, tokens in amounts.items() -%}
    if({{ tokens }} = 0, 0, {{ money(tokens, of ~ rate ~ '_usd_per_mtok') }})
    {%- if not loop.last %} + {% endif %}
    {% endfor %}
{%- endmacro %}

{# Cost of a usage row at the rates of `rates`. #}
{% macro cost_of(usage, rates) -%}
    {{ cost_of_amounts(priced_tokens(usage), rates) }}
{%- endmacro %}

{# Cost of one token kind of a row, including its parts. #}
{% macro cost_of_kind(column, rates='') -%}
    {%- set tokens = priced_tokens() -%}
    {%- set kind = rate_columns()[column] -%}
    {%- set amounts = {kind: tokens[kind]} -%}
    {%- for part, whole in part_kinds().items() if whole == column -%}
        {%- do amounts.update({part.removesuffix('_tokens'): part}) -%}
    {%- endfor -%}
    {{ cost_of_amounts(amounts, rates) }}
{%- endmacro %}

{# Cost of the row without a cache: all of its input at the input rates. #}
{% macro cost_without_cache_of(usage, rates) -%}
    {%- set tokens = priced_tokens(usage) -%}
    {%- set of = usage ~ '.' -%}
    {{ cost_of_amounts({
        'input_no_cache': '(' ~ of ~ 'total_tokens - ' ~ of ~ 'output_tokens - ' ~ of ~ 'input_audio_tokens - ' ~ of ~ 'input_image_tokens - '
            ~ of ~ 'cache_read_audio_tokens - ' ~ of ~ 'cache_read_image_tokens)',
        'input_audio': '(' ~ of ~ 'input_audio_tokens + ' ~ of ~ 'cache_read_audio_tokens)',
        'input_image': '(' ~ of ~ 'input_image_tokens + ' ~ of ~ 'cache_read_image_tokens)',
        'output': tokens.output, 'output_audio': tokens.output_audio, 'output_image': tokens.output_image,
        'web_search': tokens.web_search
    }, rates) }}
{%- endmacro %}

{#
    Join condition of usage and a rate card: provider, model, tier and day. The usage's tier columns have the prefix
    `stem`; `window` replaces its context window. `by_kind`: both have one row per token kind.
#}
{% macro at_rate(usage, card, stem='', window=none, by_kind=false) -%}
    {{ usage }}.model = {{ card }}.model
    and {{ usage }}.provider = {{ card }}.provider
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

{#
    The seller of a call: the stated one, else Bedrock if its profile or version of a model was called, else the
    model's maker.
#}
{% macro seller_of(record, name) -%}
    coalesce(
        nullif({{ record }}.provider, ''),
        if(
            {{ name }}.region not in ('', 'regional') or ({{ name }}.region = 'regional' and {{ record }}.model_version like '%-v_:_'),
            'aws', null
        ),
        {{ name }}.provider, ''
    )
{%- endmacro %}


{# Cost of tokens at one rate minus their cost at another; null if a rate is unknown, 0 without tokens. #}
{% macro difference_of(tokens, rate, other) -%}
    if({{ tokens }} = 0, 0, {{ money(tokens, 'rates.' ~ rate ~ '_usd_per_mtok - rates.' ~ other ~ '_usd_per_mtok') }})
{%- endmacro %}
