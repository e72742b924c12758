{{ config(materialized='scoped', scope_column='response_id', scope_of='responses') }}

{#
    Each request once, from however many files repeat it.

    Kept: the line with the greatest output, then the latest, then the greatest id. A sidechain line whose response also
    stands on a main line is that call again: the main line of its own key, else the earliest. The owner is the session
    with the earliest line, then the smallest id.
#}
with requests as (
    select * from {{ ref('stg_requests') }}
    where {{ in_scope('response_id', 'responses') }}
),

main_lines as (
    select
        response_id,
        arg_min(request_key, {seen: requested_at, request_key: request_key}) as request_key
    from requests
    where not is_sidechain
    group by response_id
),

main_keys as (
    select distinct request_key from requests
    where not is_sidechain
),

keyed as (
    select
        requests.* exclude (request_key),
        if(main_keys.request_key is null, coalesce(main_lines.request_key, requests.request_key), requests.request_key)
            as request_key,
        {output: output_tokens, seen: kept_at, id: kept_id} as kept_order,
        {seen: requested_at, id: session_id} as owner_order
    from requests
    left join main_lines using (response_id)
    left join main_keys on requests.request_key = main_keys.request_key
)

select
    request_key,
    min(response_id) as response_id,
    min(source_format) as source_format,
    arg_min(session_id, owner_order) as session_id,
    min(requested_at) as requested_at,
    arg_max(provider, kept_order) as provider,
    arg_max(model, kept_order) as model,
    arg_max(model_version, kept_order) as model_version,
    coalesce(arg_min(project, {seen: requested_at, name: project}) filter (where project <> ''), '') as project,
    coalesce(arg_min(usage_type, {seen: requested_at, name: usage_type}) filter (where usage_type <> ''), '')
        as usage_type,
    coalesce(arg_min(inference_geo, {seen: requested_at, name: inference_geo}) filter (where inference_geo <> ''), '')
        as inference_geo,
    coalesce(arg_min(speed, {seen: requested_at, name: speed}) filter (where speed <> ''), '') as speed,
    {% for column in ['api_key', 'workspace'] -%}
    coalesce(arg_min({{ column }}, {seen: requested_at, name: {{ column }}}) filter (where {{ column }} <> ''), '')
        as {{ column }},
    {% endfor -%}
    -- of files that repeat the request, the one with the first rule decides who pays
    min(scope_rule) as scope_rule,
    arg_min(scope_api_key, scope_rule) as scope_api_key,
    arg_min(scope_workspace, scope_rule) as scope_workspace,
    bool_and(is_sidechain) as is_sidechain,
    {% for kind in kinds() + ['web_search_count', 'cache_split_assumed', 'total_tokens'] -%}
    arg_max({{ kind }}, kept_order) as {{ kind }},
    {% endfor -%}
    count(*) as files
from keyed
group by request_key
