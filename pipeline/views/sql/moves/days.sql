-- Cost of each day, and the days that stand out: of the segment of analysis.usage_anomalies that fits the filters.
with flagged as (
    select
        usage_date,
        any_value(expected) as expected,
        bool_and(taken_back is not null) as is_taken_back
    from analysis.usage_anomalies
    where segment = $$segment and kind = 'shock'
    group by usage_date
)

select
    charges.usage_date,
    cast(coalesce(sum(charges.cost_usd) filter (where charges.billing_mode = 'metered'), 0) as decimal(38, 12)) as cost_usd,
    any_value(flagged.expected) as expected_usd,
    case any_value(flagged.is_taken_back) when false then 'stands out' when true then 'taken back' else 'usual' end as kind
from (select * from marts.charges where ${filters}) as charges
left join flagged on charges.usage_date = flagged.usage_date
group by charges.usage_date
order by charges.usage_date
