with requests as (
    select * from {{ source('raw', 'requests') }}
),

model_names as (
    select * from {{ source('raw', 'model_names') }}
)

select
    requests.*,
    coalesce(model_names.model, requests.model_version) as model,
    {{ total_of('requests') }} as total_tokens
from requests
left join model_names on requests.model_version = model_names.model_version
