-- Current data of closed or closing months: the bill, and the provider's usage and our logs at the rate card, by model,
-- key and kind. `rates` holds the rate of each day and tier, to distinguish new prices from new usage later.
create or replace temp table current_costs as
with months as (
    select unnest($$1::date[]) as month
),

charges as (
    select date_trunc('month', charges.usage_date)::date as month, charges.*, card.usd_per_mtok as card_usd
    from marts.charges
    left join raw.rate_card as card
        on ${at_rate}
    where charges.billing_mode = 'metered'
)

select
    month, source as side, provider, model, api_key, workspace, token_kind,
    sum(tokens)::bigint as tokens,
    coalesce(sum(tokens) filter (where cost_usd is null), 0)::bigint as unpriced_tokens,
    coalesce(sum(cost_usd), 0)::decimal(38, 12) as cost_usd,
    list_sort(list(distinct
        concat_ws('/', usage_date, context_window, usage_type, inference_geo, speed) || '=' || coalesce(card_usd::varchar, '')
    )) as rates
from charges
semi join months using (month)
group by all

union all

select
    date_trunc('month', usage_date)::date as month, 'billed', provider, model, api_key, workspace, token_kind,
    null, null, sum(cost_usd)::decimal(38, 12), []
from marts.billed_costs
where date_trunc('month', usage_date)::date in (from months)
group by all
