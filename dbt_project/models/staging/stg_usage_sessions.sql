with sessions as (
    select * from {{ source('raw', 'usage_sessions') }}
),

model_names as (
    select * from {{ source('raw', 'model_names') }}
),

api_key_aliases as (
    select * from {{ source('raw', 'api_key_aliases') }}
)

select
    sessions.* exclude (api_key, provider, user_id),
    coalesce(nullif(sessions.provider, ''), model_names.provider, '') as provider,
    coalesce(model_names.model, sessions.model_version) as model,
    coalesce(api_key_aliases.current_api_key, sessions.api_key) as api_key,
    {{ configured_user_id('sessions.user_id') }} as user_id,
    {{ total_of('sessions') }} as total_tokens
from sessions
left join model_names on sessions.model_version = model_names.model_version
left join api_key_aliases on sessions.api_key = api_key_aliases.api_key
