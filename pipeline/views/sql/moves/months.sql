-- Each month against the one before, with its largest cause.
select
    month,
    cast(any_value(previous_usd) as decimal(38, 12)) as previous_usd,
    cast(any_value(month_usd) as decimal(38, 12)) as month_usd,
    cast(any_value(month_usd) - any_value(previous_usd) as decimal(38, 12)) as change_usd,
    arg_max(term, if(month_usd >= previous_usd, usd, -usd)) as cause,
    cast(arg_max(usd, if(month_usd >= previous_usd, usd, -usd)) as decimal(38, 12)) as cause_usd,
    any_value(days_sentence) as days_sentence,
    any_value(note) as note
from analysis.month_bridge
where month is not null and segment = $$segment
group by month
order by month desc
