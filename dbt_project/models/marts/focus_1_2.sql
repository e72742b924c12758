{{ config(materialized='scoped', scope_column='ChargePeriodStart::date', scope_of='days') }}

{#
    Usage and bill in the form of the FinOps Open Cost and Usage Specification 1.2: one row per day, key, model,
    tier and token kind. Unit prices come from the rate card, quantities from usage, and BilledCost only from cost
    exports. Usage is the provider's own if it has the day, else that of our logs. A billed amount is assigned to
    the usage of its tier, else to the largest usage of its key, model and kind; without priced usage it is a
    separate row (category Adjustment). Credits (negative amounts) are separate rows (category Credit). Usage
    without a price and without a bill is in unpriced_usage, never here as 0.
#}
{%- set cell = 'usage_date, provider, model, api_key, workspace, token_kind' -%}
{%- set tier = 'usage_type, context_window, inference_geo, speed' -%}

with charges as (
    select * from {{ ref('charges') }}
    where is_in_force and billing_mode = 'metered' and {{ in_scope('usage_date') }}
),

billed_costs as (
    select * from {{ ref('billed_costs') }}
    where {{ in_scope('usage_date') }}
),

billed_days as (
    {{ billed_days() }}
),

-- A log without a workspace belongs to the key's workspace in the bill of the day, if there is only one.
key_workspaces as (
    select usage_date, provider, api_key, min(workspace) as billed_workspace
    from billed_costs
    group by all
    having count(distinct workspace) = 1
),

charged as (
    select
        usage_date,
        provider,
        charges.model,
        api_key,
        if(charges.workspace = '', coalesce(key_workspaces.billed_workspace, ''), charges.workspace) as workspace,
        charges.token_kind,
        {{ tier }},
        charges.source,
        charges.tokens,
        charges.usd_per_mtok,
        charges.list_usd_per_mtok,
        charges.cost_usd,
        charges.list_cost_usd
    from charges
    left join key_workspaces using (usage_date, provider, api_key)
    where charges.cost_usd is not null
),

usage as (
    select
        {{ cell }},
        {{ tier }},
        source,
        sum(tokens)::bigint as tokens,
        min(usd_per_mtok) as usd_per_mtok,
        min(coalesce(list_usd_per_mtok, usd_per_mtok)) as list_usd_per_mtok,
        sum(cost_usd)::decimal(38, 12) as cost_usd,
        sum(coalesce(list_cost_usd, cost_usd))::decimal(38, 12) as list_cost_usd
    from charged
    group by all
),

billed as (
    select
        {{ cell }},
        if(usage_type = '', 'standard', usage_type) as usage_type,
        if(context_window = '', '0-200k', context_window) as context_window,
        if(inference_geo = 'global', '', inference_geo) as inference_geo,
        if(speed = '', 'standard', speed) as speed,
        sum(cost_usd)::decimal(38, 12) as billed_cost_usd,
        sum(coalesce(list_price_usd, cost_usd))::decimal(38, 12) as list_price_usd
    from billed_costs
    group by all
),

greatest_usage as (
    select *
    from (
        select
            {{ cell }},
            {{ tier }},
            row_number() over (
                partition by {{ cell }}
                order by tokens desc, usage_type desc, context_window desc, inference_geo desc, speed desc
            ) as place
        from usage
    ) as ranked
    where place = 1
),

-- Each amount with the tier of the usage to which it is assigned, if any.
placed as (
    select
        {{ cell }},
        usage.tokens is not null or greatest_usage.place is not null as has_usage,
        {% for dimension in tier.split(', ') -%}
        if(
            usage.tokens is null and greatest_usage.place is not null,
            greatest_usage.{{ dimension }}, billed.{{ dimension }}
        ) as {{ dimension }},
        {% endfor -%}
        billed.billed_cost_usd
    from billed
    left join usage using ({{ cell }}, {{ tier }})
    left join greatest_usage using ({{ cell }})
),

billed_of_usage as (
    select
        {{ cell }},
        {{ tier }},
        sum(billed_cost_usd)::decimal(38, 12) as billed_cost_usd
    from placed
    where has_usage
    group by all
),

rows_of_both as (
    select
        usage.*,
        coalesce(billed_of_usage.billed_cost_usd, 0)::decimal(38, 12) as billed_cost_usd,
        'Usage' as category
    from usage
    left join billed_of_usage using ({{ cell }}, {{ tier }})
    union all
    select
        {{ cell }},
        {{ tier }},
        'billed' as source,
        null as tokens,
        null as usd_per_mtok,
        null as list_usd_per_mtok,
        billed_cost_usd as cost_usd,
        billed_cost_usd as list_cost_usd,
        billed_cost_usd,
        if(token_kind = 'credit', 'Credit', 'Adjustment') as category
    from placed
    where not has_usage
),

named as (
    select
        rows_of_both.*,
        billed_days.usage_date is not null as is_billed_day,
        category = 'Usage' as is_usage,
        coalesce(nullif(rows_of_both.provider, ''), 'unknown') as provider_id,
        case rows_of_both.provider
            when 'anthropic' then 'Anthropic'
            when 'openai' then 'OpenAI'
            when 'google' then 'Google'
            else coalesce(nullif(rows_of_both.provider, ''), 'unknown')
        end as provider_name,
        case token_kind
            when 'input_no_cache' then 'Input tokens'
            when 'cache_write_5m' then 'Cache write tokens (5 minutes)'
            when 'cache_write_1h' then 'Cache write tokens (1 hour)'
            when 'cache_read' then 'Cache read tokens'
            when 'output' then 'Output tokens'
            when 'web_search' then 'Web searches'
            else replace(token_kind, '_', ' ')
        end as meter,
        if(token_kind = 'web_search', 'Requests', 'Tokens') as unit
    from rows_of_both
    left join billed_days
        on rows_of_both.usage_date = billed_days.usage_date and rows_of_both.provider = billed_days.provider
)

-- The specification's own names, as it writes them.
-- noqa: disable=CP02
select
    billed_cost_usd as BilledCost,
    provider_id as BillingAccountId,
    null::varchar as BillingAccountName,
    'USD' as BillingCurrency,
    (date_trunc('month', usage_date) + interval 1 month)::timestamp as BillingPeriodEnd,
    date_trunc('month', usage_date)::timestamp as BillingPeriodStart,
    category as ChargeCategory,
    null::varchar as ChargeClass,
    case
        when is_usage then meter || ' of ' || model
        when category = 'Credit' then 'Credit' || if(model = '', '', ' for ' || model)
        else meter || ' billed' || if(model = '', '', ' for ' || model) || ', quantity not listed'
    end as ChargeDescription,
    if(category = 'Credit', 'One-Time', 'Usage-Based') as ChargeFrequency,
    (usage_date + interval 1 day)::timestamp as ChargePeriodEnd,
    usage_date::timestamp as ChargePeriodStart,
    null::varchar as CommitmentDiscountCategory,
    null::varchar as CommitmentDiscountId,
    null::varchar as CommitmentDiscountName,
    null::varchar as CommitmentDiscountStatus,
    null::varchar as CommitmentDiscountType,
    if(is_usage, tokens, null)::decimal(38, 6) as ConsumedQuantity,
    if(is_usage, unit, null) as ConsumedUnit,
    cost_usd as ContractedCost,
    usd_per_mtok as ContractedUnitPrice,
    if(is_billed_day or not is_usage, billed_cost_usd, cost_usd)::decimal(38, 12) as EffectiveCost,
    null::varchar as InvoiceId,
    provider_name as InvoiceIssuerName,
    list_cost_usd as ListCost,
    list_usd_per_mtok as ListUnitPrice,
    if(is_usage, 'Standard', null) as PricingCategory,
    if(is_usage, tokens * 0.000001, null)::decimal(38, 6) as PricingQuantity,
    if(is_usage, '1000000 ' || unit, null) as PricingUnit,
    provider_name as ProviderName,
    provider_name as PublisherName,
    nullif(inference_geo, '') as RegionId,
    if(inference_geo = 'us', 'United States', nullif(inference_geo, '')) as RegionName,
    nullif(api_key, '') as ResourceId,
    nullif(api_key, '') as ResourceName,
    if(api_key = '', null, 'API Key') as ResourceType,
    'AI and Machine Learning' as ServiceCategory,
    provider_name || ' API' as ServiceName,
    'Generative AI' as ServiceSubcategory,
    if(is_usage, provider_id || ':' || model || ':' || token_kind, null) as SkuId,
    if(is_usage, meter, null) as SkuMeter,
    if(
        is_usage,
        {{ json_text({
            'UsageType': 'usage_type', 'ContextWindow': 'context_window', 'InferenceGeo': 'inference_geo', 'Speed': 'speed'
        }) }},
        null
    ) as SkuPriceDetails,
    if(is_usage, concat_ws(':', provider_id, model, token_kind, usage_type, context_window, inference_geo, speed), null)
        as SkuPriceId,
    nullif(workspace, '') as SubAccountId,
    nullif(workspace, '') as SubAccountName,
    if(workspace = '', null, 'Workspace') as SubAccountType,
    null::varchar as Tags,
    model as x_Model,
    source as x_Source,
    token_kind as x_TokenKind,
    usage_type as x_UsageType,
    context_window as x_ContextWindow,
    speed as x_Speed
from named
order by usage_date, model, api_key, workspace, token_kind, usage_type, context_window
