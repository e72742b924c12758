-- Up to which day each source has data, and how far that is behind the newest day of all.
with sides as (
    select provider, source, usage_date
    from marts.charges
    union all
    select provider, 'billed' as source, usage_date
    from marts.billed_costs
),

newest as (
    select max(usage_date) as last_day from sides
)

select
    sides.source,
    sides.provider,
    min(sides.usage_date) as first_day,
    max(sides.usage_date) as last_day,
    count(distinct sides.usage_date) as days,
    cast(date_diff('day', max(sides.usage_date), (select newest.last_day from newest)) as bigint) as days_behind
from sides
where ${filters}
group by sides.source, sides.provider
order by days_behind desc, sides.provider, sides.source
