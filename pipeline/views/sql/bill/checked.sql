-- What of the bill was checked, by outcome, reason and year.
with cells as (select * from (${cells}) where ${filters}),

parts as (
    select usage_date, 1 as place, 'checked and right' as outcome, '' as why, right_usd as usd, 0 as gap_usd
    from cells
    where right_usd <> 0 or (has_bill and unchecked_why = '' and is_tied_out)
    union all
    select usage_date, 2, 'differs', if(status = 'out_of_scope', 'mispriced', status), differing_usd, billed_cost_usd - coalesce(console_cost_usd, computed_usd)
    from cells
    where has_bill and unchecked_why = '' and not (is_tied_out or coalesce(is_priced_right, false))
    union all
    select usage_date, 3, 'not checkable', unchecked_why, unchecked_usd, null
    from cells
    where unchecked_why <> ''
)

select
    outcome,
    why,
    cast(year(usage_date) as bigint) as year,
    cast(sum(usd) as decimal(38, 12)) as usd,
    cast(sum(gap_usd) as decimal(38, 12)) as gap_usd,
    cast(count(*) as bigint) as cells,
    min(usage_date) as first_day,
    max(usage_date) as last_day
from parts
group by place, outcome, why, year(usage_date)
order by place, abs(sum(usd)) desc, why, year(usage_date)
