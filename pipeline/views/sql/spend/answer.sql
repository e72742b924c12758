-- Cost by month of the usage in the filters; the last day of all usage says up to which day months can be compared.
with known as (
    select max(usage_date) as last_day from marts.charges where ${source}
),

usage as (
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
    max(known.last_day) as known_until,
    cast(sum(cost_usd) filter (where day(usage_date) <= day(known.last_day)) as decimal(38, 12)) as to_date_usd
from usage
cross join known
group by month
order by month
