-- The change of each team, workspace, key or model, the largest first, with its largest cause and its single days.
with bridge as (
    select * from (${pair}) as bridged where starts_with(bridged.segment, $$prefix)
)

select
    segment,
    cast(any_value(previous_usd) as decimal(38, 12)) as previous_usd,
    cast(any_value(month_usd) as decimal(38, 12)) as month_usd,
    cast(any_value(month_usd) - any_value(previous_usd) as decimal(38, 12)) as change_usd,
    arg_max(term, if(month_usd >= previous_usd, usd, -usd)) as cause,
    cast(arg_max(usd, if(month_usd >= previous_usd, usd, -usd)) as decimal(38, 12)) as cause_usd,
    any_value(days_sentence) as days_sentence
from bridge
group by segment
having any_value(previous_usd) <> 0 or any_value(month_usd) <> 0
order by abs(any_value(month_usd) - any_value(previous_usd)) desc, segment
