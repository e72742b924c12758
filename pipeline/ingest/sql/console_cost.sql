-- Rows of an Anthropic Console cost export: one amount per row, rounded to the cent; equal rows are separate amounts.
with cells as (
    select
        ${cells},
        ${values} as cells
    from ${relation}
),

typed as (
    select
        *,
        case when regexp_full_match(usage_date_utc, '[0-9]{4}-[0-9]{2}-[0-9]{2}.*') then utc_or_null(usage_date_utc) end
            as usage_at,
        usd_or_null(try_cast(cost_usd as decimal(38, 12))) as cost,
        usd_or_null(try_cast(list_price_usd as decimal(38, 12))) as list_price
    from cells
),

checked as (
    select
        *,
        list_filter([
            {
                column_name: 'usage_date_utc', value: usage_date_utc,
                reason: case when usage_at is null then if(utc_of(usage_date_utc) is null, 'is not a date', time_problem(usage_date_utc)) end
            },
            {column_name: 'cost_usd', value: cost_usd, reason: case when cost is null then usd_problem(cost_usd) end},
            {
                column_name: 'list_price_usd', value: list_price_usd,
                reason: case when list_price_usd <> '' and list_price is null then usd_problem(list_price_usd) end
            },
            {
                column_name: 'token_type', value: token_type,
                reason: case when token_type = '' and cost_type in ('', 'token', 'tokens') then 'is empty' end
            }
        ], lambda found: found.reason is not null) [1] as found
    from typed
)

select
    ${file_sha256} as file_sha256,
    usage_at::date as usage_date,
    model as model_version,
    ${states_api_key} as states_api_key,
    ${states_workspace} as states_workspace,
    if(api_key = '' and ${states_api_key}, '(workbench)', api_key) as api_key,
    if(lower(workspace) in ('', 'default') and ${states_workspace}, 'Default', workspace) as workspace,
    if(lower(usage_type) = 'message', 'standard', lower(usage_type)) as usage_type,
    context_window_name(context_window) as context_window,
    if(inference_geo = 'not_available', '', inference_geo) as inference_geo,
    speed,
    lower(cost_type) as cost_type,
    lower(token_type) as token_type,
    cost as cost_usd,
    list_price as list_price_usd,
    case
        when found is not null
            then {
                reason: found.column_name || ' ' || found.reason,
                column_name: found.column_name,
                value: without_secret(found.value)
            }
    end as problem,
    case when found is not null then cells end as cells
from checked
