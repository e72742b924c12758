-- Standard rates by their first day; they give the price ratios between kinds of tokens.
select
    provider,
    model,
    token_kind,
    valid_from,
    cast(min(usd_per_mtok) as double) / 1e6 as usd_per_token
from marts.model_rates
where usage_type in ('', 'standard') and inference_geo = '' and speed in ('', 'standard')
group by all
order by provider, model, token_kind, valid_from
