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

-- Long context in a bill is the model's second context window.
long_contexts as (
    select
        model,
        min_by(context_window, above_tokens) as context_window
    from {{ source('raw', 'context_windows') }}
    where above_tokens > 0
    group by model
),

named as (
    select
        costs.file_sha256,
        exports.reaches_to as export_reaches_to,
        costs.usage_date,
        costs.provider,
        costs.channel,
        costs.usage_type,
        costs.inference_geo,
        costs.speed,
        costs.cost_type,
        costs.states_api_key,
        costs.states_workspace,
        costs.states_user_id,
        costs.states_kind,
        costs.cost_usd,
        costs.list_price_usd,
        coalesce(api_key_aliases.current_api_key, costs.api_key) as api_key,
        coalesce(workspace_aliases.current_workspace, costs.workspace) as workspace,
        {{ configured_user_id('costs.user_id') }} as user_id,
        coalesce(model_names.model, costs.model_version) as model,
        if(
            costs.context_window = 'long context',
            coalesce(long_contexts.context_window, costs.context_window), costs.context_window
        ) as context_window,
        costs.cost_usd < 0 as is_credit,
        case costs.token_type
            when 'input_cache_read' then 'cache_read'
            when 'input_cache_write_5m' then 'cache_write_5m'
            when 'input_cache_write_1h' then 'cache_write_1h'
            -- exports of 2024 have one kind of cache writes, of five minutes
            when 'input_cache_write' then 'cache_write_5m'
            when '' then costs.cost_type
            else costs.token_type
        end as token_kind
    from costs
    left join model_names on costs.model_version = model_names.model_version
    left join api_key_aliases on costs.api_key = api_key_aliases.api_key
    left join workspace_aliases on costs.workspace = workspace_aliases.workspace
    left join exports on costs.file_sha256 = exports.file_sha256
    left join long_contexts on coalesce(model_names.model, costs.model_version) = long_contexts.model
)

-- Equal rows are separate amounts: they are added, and counted for the rounding tolerance. Credits are separate rows.
select
    file_sha256,
    export_reaches_to,
    usage_date,
    provider,
    channel,
    model,
    api_key,
    workspace,
    user_id,
    usage_type,
    context_window,
    inference_geo,
    speed,
    cost_type,
    token_kind,
    is_credit,
    states_api_key,
    states_workspace,
    states_user_id,
    states_kind,
    sum(cost_usd)::decimal(38, 12) as cost_usd,
    sum(list_price_usd)::decimal(38, 12) as list_price_usd,
    count(*) as cost_rows
from named
group by all
