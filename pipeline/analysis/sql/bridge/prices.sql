-- List prices by model, kind of token, tier and first day, in USD per million.
select
    provider,
    model,
    token_kind,
    context_window,
    usage_type,
    inference_geo,
    speed,
    valid_from,
    list_usd_per_mtok
from marts.model_rates
where list_usd_per_mtok is not null
order by all
