-- From the earlier bill to the later one: what each cause added, the largest first.
with bridge as (
    select * from (${pair}) as bridged where bridged.segment = $$segment
),

steps as (
    select 1 as place, 'before' as term, any_value(previous_usd) as usd, true as is_total
    from bridge
    having count(*) > 0
    union all
    select 2, term, usd, false
    from bridge
    where usd <> 0
    union all
    select 3, 'after', any_value(month_usd), true
    from bridge
    having count(*) > 0
)

select
    term,
    cast(usd as decimal(38, 12)) as usd,
    is_total
from steps
order by place, abs(usd) desc, term
