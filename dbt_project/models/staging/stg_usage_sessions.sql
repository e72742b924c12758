with sessions as (
    select * from {{ source('raw', 'usage_sessions') }}
),

model_names as (
    select * from {{ source('raw', 'model_names') }}
),

api_key_aliases as (
    select * from {{ source('raw', 'api_key_aliases') }}
),

scoped_files as (
    select * from {{ ref('stg_scoped_files') }}
)

select
    {{ star_except(['api_key', 'provider', 'user_id'], 'sessions') }},
    {{ seller_of('sessions', 'model_names') }} as provider,
    coalesce(model_names.model, sessions.model_version) as model,
    coalesce(api_key_aliases.current_api_key, sessions.api_key) as api_key,
    {{ configured_user_id('sessions.user_id') }} as user_id,
    scoped_files.scope_rule,
    scoped_files.scope_api_key,
    scoped_files.scope_workspace,
    {{ total_of('sessions') }} as total_tokens
from sessions
left join model_names on sessions.model_version = model_names.model_version
left join api_key_aliases on sessions.api_key = api_key_aliases.api_key
left join scoped_files on sessions.file_sha256 = scoped_files.file_sha256
