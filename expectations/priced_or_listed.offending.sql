-- Usage without a cost that marts.unpriced_usage does not list.
select
    minutes.usage_date,
    minutes.source,
    minutes.provider,
    minutes.model,
    minutes.model_version,
    minutes.usage_type,
    minutes.context_window,
    minutes.inference_geo,
    minutes.speed,
    count(*) as rows_silently_unpriced,
    sum(minutes.total_tokens)::bigint as total_tokens,
    sum(minutes.web_search_count)::bigint as web_search_count
from marts.token_usage_minutes as minutes
anti join marts.unpriced_usage as listed
    on minutes.source = listed.source
    and minutes.provider = listed.provider
    and minutes.model = listed.model
    and minutes.model_version = listed.model_version
    and minutes.usage_type = listed.usage_type
    and minutes.context_window = listed.context_window
    and minutes.inference_geo = listed.inference_geo
    and minutes.speed = listed.speed
    and minutes.usage_date between listed.first_used and listed.last_used
where minutes.estimated_cost_usd is null
group by all
order by all
