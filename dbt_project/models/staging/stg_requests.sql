with requests as (
    select * from {{ source('raw', 'requests') }}
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
    {{ star_except(['provider', 'api_key', 'user_id', 'inference_geo', 'logged_cost_usd'], 'requests') }},
    {{ seller_of('requests', 'model_names') }} as provider,
    -- a Bedrock model name contains its region
    if(
        requests.inference_geo = '' and {{ seller_of('requests', 'model_names') }} = 'aws',
        coalesce(model_names.region, ''),
        requests.inference_geo
    ) as inference_geo,
    coalesce(model_names.model, requests.model_version) as model,
    coalesce(api_key_aliases.current_api_key, requests.api_key, '') as api_key,
    {{ configured_user_id('requests.user_id') }} as user_id,
    scoped_files.scope_rule,
    scoped_files.scope_api_key,
    scoped_files.scope_workspace,
    {{ total_of('requests') }} as total_tokens
from requests
left join model_names on requests.model_version = model_names.model_version
left join api_key_aliases on requests.api_key = api_key_aliases.api_key
left join scoped_files on requests.file_sha256 = scoped_files.file_sha256
