-- Cells that are both in the provider's usage and in its bill, with the card's rate of the day. Days on which the usage
-- export ends too early are left out, because their tokens are uncertain.
with usage as (
    select
        usage_date, provider, model, api_key, workspace, usage_type, context_window, inference_geo, speed, token_kind,
        sum(tokens)::bigint as tokens
    from marts.charges
    where source = 'console' and billing_mode = 'metered'
    group by all
),

billed as (
    select
        usage_date,
        provider,
        model,
        api_key,
        workspace,
        if(usage_type = '', 'standard', usage_type) as usage_type,
        if(context_window = '', '0-200k', context_window) as context_window,
        if(inference_geo = 'global', '', inference_geo) as inference_geo,
        if(speed = '', 'standard', speed) as speed,
        token_kind,
        sum(cost_usd)::decimal(38, 12) as billed_usd,
        sum(rounding_tolerance_usd)::decimal(38, 12) as rounding_usd
    from marts.billed_costs
    group by all
),

late as (
    select distinct usage_date, provider, model, api_key, workspace, token_kind
    from marts.usage_reconciliation
    where status = 'late'
)

select
    provider,
    model,
    token_kind,
    context_window,
    usage_type,
    inference_geo,
    speed,
    usage_date,
    tokens,
    billed_usd,
    rounding_usd,
    card.usd_per_mtok,
    card.list_usd_per_mtok,
    card.valid_from,
    card.origin
from usage
inner join billed
    using (usage_date, provider, model, api_key, workspace, usage_type, context_window, inference_geo, speed, token_kind)
left join late using (usage_date, provider, model, api_key, workspace, token_kind)
left join card
    on ${at_rate}
where late.usage_date is null
order by all
