-- Cost by day of the usage in the filters, the last day, and what the bill has on the same days and on days without usage.
with usage as (
    select
        usage_date,
        coalesce(sum(cost_usd) filter (where billing_mode = 'metered'), 0) as cost_usd,
        sum(tokens) filter (where token_kind <> 'web_search') as tokens,
        coalesce(sum(tokens) filter (where cost_usd is null), 0) as unpriced_tokens,
        coalesce(sum(cost_usd) filter (where billing_mode <> 'metered'), 0) as seat_usd
    from marts.charges
    where ${filters}
    group by usage_date
)

select
    cast(date_trunc('month', usage_date) as date) as month,
    cast(sum(cost_usd) as decimal(38, 12)) as cost_usd,
    cast(sum(tokens) as bigint) as tokens,
    cast(sum(unpriced_tokens) as bigint) as unpriced_tokens,
    cast(sum(seat_usd) as decimal(38, 12)) as seat_usd,
    min(usage_date) as first_day,
    max(usage_date) as last_day,
    cast(sum(cost_usd) filter (where day(usage_date) <= (select day(max(last.usage_date)) from usage as last)) as decimal(38, 12)) as to_date_usd
from usage
group by all
order by month
