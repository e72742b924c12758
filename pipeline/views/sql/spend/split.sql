-- Cost and tokens of each part, the most expensive first.
select
    ${by} as ${by},
    cast(coalesce(sum(cost_usd) filter (where billing_mode = 'metered'), 0) as decimal(38, 12)) as cost_usd,
    cast(sum(cost_usd) filter (where billing_mode = 'metered') / nullif(sum(sum(cost_usd) filter (where billing_mode = 'metered')) over (), 0) as double)
        as share_of_cost,
    cast(coalesce(sum(tokens) filter (where token_kind <> 'web_search'), 0) as bigint) as tokens,
    cast(coalesce(sum(tokens) filter (where token_kind <> 'web_search' and not starts_with(token_kind, 'output')), 0) as bigint) as input_tokens,
    cast(coalesce(sum(tokens) filter (where starts_with(token_kind, 'output')), 0) as bigint) as output_tokens,
    sum(tokens) filter (where starts_with(token_kind, 'cache_read'))
    / nullif(sum(tokens) filter (where token_kind <> 'web_search' and not starts_with(token_kind, 'output')), 0) as cache_read_share,
    cast(coalesce(sum(tokens) filter (where cost_usd is null), 0) as bigint) as unpriced_tokens,
    min(usage_date) as first_day,
    max(usage_date) as last_day
from marts.charges
where ${filters}
group by all
order by cost_usd desc, tokens desc, ${by}
