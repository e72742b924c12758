{# The dimensions by which a provider's usage is told apart, and the columns that hold each. #}
{% macro console_dimensions() -%}
    {{ return({
        'api_key': ['api_key'], 'context_window': ['context_window'], 'inference_geo': ['inference_geo'],
        'model': ['model_version'], 'speed': ['speed'], 'usage_type': ['usage_type'], 'user_id': ['user_id'],
        'workspace': ['workspace']
    }) }}
{%- endmacro %}

{# What a row of raw.console_usage states: as its file says, else as its Console export has the columns. #}
{% macro stated_dimensions() -%}
    coalesce(
        stated,
        'api_key' || if(states_context_window, ',context_window', '') || if(states_geo_speed, ',inference_geo', '')
        || ',model' || if(states_geo_speed, ',speed', '') || ',usage_type,workspace'
    )
{%- endmacro %}

{#
    The levels (grain, and the dimensions that are stated) of the exports in scope, from the finest to the coarsest.
    Comparing many takes a hundred times as much SQL as the one or two that a landing usually holds. Without any exports,
    and in unit tests, the model is written out for the Console's three generations of columns, and for models alone.
#}
{% macro console_levels() -%}
    {%- set levels = [] -%}
    {%- if execute and model.resource_type != 'unit_test' -%}
        {%- set found = run_query(
            'select distinct bucket_seconds, ' ~ stated_dimensions() ~ ' as stated_here from '
            ~ source('raw', 'console_usage') ~ ' where ' ~ in_days('usage_start')
            ~ ' order by bucket_seconds, len(string_split(stated_here, \',\')) - (stated_here = \'\')::integer desc, stated_here'
        ) -%}
        {%- for row in found.rows -%}
            {%- do levels.append([row[0] | int, row[1]]) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if not levels -%}
        {%- for grain in [60, 3600, 86400] -%}
            {%- for stated in [
                'api_key,context_window,inference_geo,model,speed,usage_type,workspace',
                'api_key,context_window,model,usage_type,workspace', 'api_key,model,usage_type,workspace', 'model'
            ] -%}
                {%- do levels.append([grain, stated]) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(levels) }}
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
        ',', if(states_api_key, 'api_key', null), if(states_kind, 'kind', null), if(states_user_id, 'user_id', null),
        if(states_workspace, 'workspace', null)
    )
{%- endmacro %}

{#
    The levels of the cost exports in scope: which dimensions they state, from the finest to the coarsest. Of two that state
    equally many the one that names models and kinds comes first: usage is compared with these. As above, without any
    exports it is those that usually occur.
#}
{% macro cost_levels() -%}
    {%- set levels = [] -%}
    {%- if execute and model.resource_type != 'unit_test' -%}
        {%- set found = run_query(
            'select distinct ' ~ stated_cost_dimensions() ~ ' as stated_here, states_kind from ' ~ source('raw', 'console_costs')
            ~ ' where ' ~ in_scope('usage_date')
            ~ ' order by len(string_split(stated_here, \',\')) - (stated_here = \'\')::integer desc, states_kind desc, stated_here'
        ) -%}
        {%- for row in found.rows -%}
            {%- do levels.append(row[0]) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(levels or ['api_key,kind,workspace', 'api_key,kind', 'kind,workspace', 'kind', 'workspace', '']) }}
{%- endmacro %}

{# What rounding leaves open in one amount of a bill: half a cent in Console exports, less than the price of a token in others. #}
{% macro rounding_usd(provider, channel) -%}
    if({{ provider }} = 'anthropic' and {{ channel }} = 'csv', 0.005, 0.000000001)::decimal(38, 12)
{%- endmacro %}

{#
    Whether two exports in scope share a day, so that rows of one may stand for those of the other. Where none do, as in
    most nights, ranking them would sort every row for nothing. A pull may stand for rows of an earlier one without having
    any itself.
#}
{% macro exports_overlap() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query(
        'select count(distinct file_sha256) as files from ' ~ source('raw', 'console_usage')
        ~ ' where ' ~ in_days('usage_start') ~ ' group by usage_start::date order by files desc limit 1'
    ) -%}
    {%- set pulled = run_query(
        'select 1 from ' ~ source('raw', 'exports') ~ ' inner join scope.days on item < covers_to and item + 1 > covers_from'
        ~ ' where is_pull and side = \'console\' limit 1'
    ) -%}
    {{ return(not found.rows or found.rows[0][0] > 1 or pulled.rows | length > 0) }}
{%- endmacro %}

{# Whether a provider's usage in scope came by more than one channel, so that it has to be decided which one counts. #}
{% macro several_channels() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set found = run_query(
        'select count(distinct channel) as channels from ' ~ source('raw', 'console_usage')
        ~ ' where ' ~ in_days('usage_start') ~ ' group by provider order by channels desc limit 1'
    ) -%}
    {{ return(not found.rows or found.rows[0][0] > 1) }}
{%- endmacro %}

{# The channel that the settings prefer for a provider's account. #}
{% macro preferred_channel(provider) -%}
    coalesce(
        map_extract_value(
            (select map_from_entries(list((provider, channel))) from {{ source('raw', 'account_channels') }}), {{ provider }}
        ),
        'csv'
    )
{%- endmacro %}
