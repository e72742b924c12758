-- The two bills of the bridge, in one row.
select
    any_value(previous_usd) as previous_usd,
    any_value(month_usd) as month_usd,
    any_value(days_sentence) as days_sentence,
    any_value(note) as note,
    any_value(source) as source
from (${pair}) as bridged
where segment = $$segment
having count(*) > 0
