-- From one bill to the next: what each cause added, in USD (the causes add up exactly, in whatever order)
-- minor: note, source
with chosen as (
    select
        *,
        if(
            first_day = date_trunc('month', first_day) and last_day = last_day(first_day)
            and previous_first_day = first_day - interval 1 month and previous_last_day = first_day - 1,
            ['the month before', 'the month'],
            [previous_first_day || '..' || previous_last_day, first_day || '..' || last_day]
        ) as periods
    from ${bridge}
    where
        month is not distinct from coalesce(
            cast(? as date), (select max(last.month) from ${bridge} as last)
        )
),

steps as (
    select month, segment, 1 as place, term, usd, source, note, days_sentence, previous_usd + month_usd as size
    from chosen
    where segment = 'all' or usd <> 0
    union all
    select distinct
        month, segment, 0 as place, 'bill of ' || periods[1] as term, previous_usd as usd, source, note,
        days_sentence, previous_usd + month_usd as size
    from chosen
    where month is not null
    union all
    select distinct
        month, segment, 2 as place, 'bill of ' || periods[2] as term, month_usd as usd, source, note,
        days_sentence, previous_usd + month_usd as size
    from chosen
    where month is not null
)

select
    strftime(month, '%Y-%m') as month,
    segment,
    term,
    usd,
    source,
    note,
    days_sentence
from steps
order by segment <> 'all', size desc, segment, place, abs(usd) desc, term
