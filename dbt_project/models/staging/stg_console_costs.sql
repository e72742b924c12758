with costs as (
    select * from {{ source('raw', 'console_costs') }}
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
        exports.reaches_to as export_reaches_to,
        costs.* exclude (api_key, workspace, token_type),
        coalesce(api_key_aliases.current_api_key, costs.api_key) as api_key,
        coalesce(workspace_aliases.current_workspace, costs.workspace) as workspace,
        coalesce(model_names.model, costs.model_version) as model,
        case costs.token_type
            when 'input_cache_read' then 'cache_read'
            when 'input_cache_write_5m' then 'cache_write_5m'
            when 'input_cache_write_1h' then 'cache_write_1h'
            -- 2024's exports know one kind of cache write, of five minutes
            when 'input_cache_write' then 'cache_write_5m'
            when '' then costs.cost_type
            else costs.token_type
        end as token_kind,
        costs.token_type = 'input_cache_write' as cache_split_assumed
    from costs
    left join model_names on costs.model_version = model_names.model_version
    left join api_key_aliases on costs.api_key = api_key_aliases.api_key
    left join workspace_aliases on costs.workspace = workspace_aliases.workspace
    left join exports on costs.file_sha256 = exports.file_sha256
)

-- Equal rows are separate amounts: they are added, and counted for the rounding tolerance.
select
    file_sha256,
    export_reaches_to,
    usage_date,
    provider,
    channel,
    model,
    api_key,
    workspace,
    usage_type,
    context_window,
    inference_geo,
    speed,
    cost_type,
    token_kind,
    states_api_key,
    states_workspace,
    states_kind,
    sum(cost_usd)::decimal(38, 12) as cost_usd,
    sum(list_price_usd)::decimal(38, 12) as list_price_usd,
    count(*) as cost_rows
from named
group by all
