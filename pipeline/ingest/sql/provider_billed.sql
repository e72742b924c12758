-- Results of a provider's cost API, or rows of its CSV export: one amount per row and UTC day.
with cells as (
    select
        ${cells},
        ${values} as cells
    from ${relation}
),

-- The dimensions that a file states: those of the request if known, else those that a row names.
stated_units as (
    select
        coalesce(${grouped_by}, list_filter([
            if(bool_or(api_key <> ''), 'api_key', null),
            if(bool_or(description <> '' or model <> '' or token_type <> ''), 'kind', null),
            if(bool_or(user_id <> ''), 'user_id', null),
            if(bool_or(workspace <> ''), 'workspace', null)
        ], lambda unit: unit is not null)) as units
    from cells
),

typed as (
    select
        *,
        moment_or_null(starts) as starts_at,
        moment_or_null(ends) as ends_at,
        -- two casts, to keep all digits of an amount in cents
        usd_or_null(
            (if(abs(try_cast(amount as double)) < 1e15, try_cast(amount as decimal(38, 14)), null) * ${usd_per_unit})::decimal(38, 12)
        ) as amount_usd,
        ${item_model} as item_model,
        ${item_kind} as item_kind,
        ${item_type} as item_type,
        ${item_tier} as item_tier,
        ${item_window} as item_window
    from cells
    cross join stated_units
),

checked as (
    select
        *,
        list_filter([
            {column_name: '', value: '', reason: misshapen},
            {
                column_name: '${name_amount}', value: amount,
                reason: if(amount_usd is null, usd_problem(amount), null)
            },
            {
                column_name: '${name_starts}', value: starts,
                reason: if(starts_at is null, coalesce(time_problem(starts), 'is not a time') || ' (' || amount_usd || ' USD)', null)
            },
            {
                column_name: '${name_ends}', value: ends,
                reason: if(
                    coalesce(ends_at <> starts_at + interval 1 day, true) or starts_at <> date_trunc('day', starts_at),
                    'does not end a UTC day that begins at ${name_starts} (' || amount_usd || ' USD)', null
                )
            },
            {
                column_name: '${name_currency}', value: currency,
                reason: if(lower(currency) not in ('', 'usd'), 'is not USD', null)
            }
        ], lambda found: found.reason is not null) [1] as found
    from typed
)

select
    ${file_sha256} as file_sha256,
    ${provider} as provider,
    ${channel} as channel,
    starts_at::date as usage_date,
    item_model as model_version,
    list_contains(units, 'api_key') as states_api_key,
    list_contains(units, 'workspace') as states_workspace,
    list_contains(units, 'kind') as states_kind,
    list_contains(units, 'user_id') as states_user_id,
    user_id,
    if(api_key = '' and list_contains(units, 'api_key'), '(workbench)', api_key) as api_key,
    if(lower(workspace) in ('', 'default') and list_contains(units, 'workspace'), 'Default', workspace) as workspace,
    if(item_tier in ('default', 'auto'), 'standard', item_tier) as usage_type,
    context_window_name(item_window) as context_window,
    if(inference_geo = 'not_available', '', inference_geo) as inference_geo,
    speed,
    item_type as cost_type,
    item_kind as token_type,
    amount_usd as cost_usd,
    null::decimal(38, 12) as list_price_usd,
    case
        when found is not null
            then {
                reason: trim(found.column_name || ' ' || found.reason),
                column_name: found.column_name,
                value: without_secret(found.value)
            }
    end as problem,
    case when found is not null then cells end as cells
from checked
