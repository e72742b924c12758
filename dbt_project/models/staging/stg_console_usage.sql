with usage as (
    select * from {{ source('raw', 'console_usage') }}
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
)

select
    ---------- key
    usage.file_sha256,
    exports.reaches_to as export_reaches_to,
    usage.usage_start,
    usage.bucket_seconds,
    usage.provider,
    usage.channel,
    coalesce(model_names.model, usage.model_version) as model,
    usage.model_version,
    coalesce(api_key_aliases.current_api_key, usage.api_key) as api_key,
    coalesce(workspace_aliases.current_workspace, usage.workspace) as workspace,
    {{ configured_user_id('usage.user_id') }} as user_id,
    usage.usage_type,
    usage.context_window,
    usage.inference_geo,
    usage.speed,
    {{ stated_dimensions('usage') }} as stated,

    ---------- tokens
    {{ kind_columns('usage') }},
    {{ part_columns('usage') }},
    usage.web_search_count,
    usage.request_count,
    usage.cache_split_assumed,
    {{ total_of('usage') }} as total_tokens
from usage
left join model_names on usage.model_version = model_names.model_version
left join api_key_aliases on usage.api_key = api_key_aliases.api_key
left join workspace_aliases on usage.workspace = workspace_aliases.workspace
left join exports on usage.file_sha256 = exports.file_sha256
