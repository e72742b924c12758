{# Contract rates are published only if the settings say so, because more people may read the published file. #}
select
    provider,
    model,
    token_kind,
    context_window,
    usage_type,
    inference_geo,
    speed,
    valid_from,
    valid_to,
    usd_per_mtok,
    origin,
    is_override,
    list_usd_per_mtok,
    price_list,
    override_line
from {{ source('raw', 'rate_card') }}
where not is_override or (select publish_contract_rates from {{ source('raw', 'settings') }})
order by all
