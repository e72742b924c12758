with usage as (
    select
        * exclude (stated, states_context_window, states_geo_speed),
        {{ stated_dimensions() }} as stated
    from {{ source('raw', 'console_usage') }}
),

model_names as (
    select * from {{ source('raw', 'model_names') }}
),

api_key_aliases as (
    select * from {{ source('raw', 'api_key_aliases') }}
),

workspace_aliases as (
    select * from {{ source('raw', 'workspace_aliases') }}
),

exports as (
    select * from {{ source('raw', 'exports') }}
),

named as (
    select
        usage.* exclude (api_key, workspace, user_id),
        exports.reaches_to as export_reaches_to,
        coalesce(api_key_aliases.current_api_key, usage.api_key) as api_key,
        coalesce(workspace_aliases.current_workspace, usage.workspace) as workspace,
        {{ configured_user_id('usage.user_id') }} as user_id,
        coalesce(model_names.model, usage.model_version) as model
    from usage
    left join model_names on usage.model_version = model_names.model_version
    left join api_key_aliases on usage.api_key = api_key_aliases.api_key
    left join workspace_aliases on usage.workspace = workspace_aliases.workspace
    left join exports on usage.file_sha256 = exports.file_sha256
),

-- Inside one export rows of one key are parts of it: add them.
summed as (
    select
        ---------- key
        file_sha256,
        export_reaches_to,
        usage_start,
        bucket_seconds,
        model,
        model_version,
        api_key,
        workspace,
        user_id,
        usage_type,
        context_window,
        inference_geo,
        speed,

        ---------- the same in all rows of a file
        any_value(provider) as provider,
        any_value(channel) as channel,
        any_value(stated) as stated,

        ---------- tokens
        {{ sum_kinds() }},
        {{ sum_parts() }},
        sum(web_search_count)::bigint as web_search_count,
        sum(request_count)::bigint as request_count,
        bool_or(cache_split_assumed) as cache_split_assumed
    from named
    group by all
)

select
    *,
    {{ total_of() }} as total_tokens
from summed
