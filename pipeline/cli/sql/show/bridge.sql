-- From last month's bill to this one: what each cause added, in USD (the causes add up exactly, in whatever order)
-- minor: note, source
with chosen as (
    select *
    from analysis.month_bridge
    where
        month is not distinct from coalesce(
            cast(? as date), (select max(last.month) from analysis.month_bridge as last)
        )
),

steps as (
    select month, segment, 1 as place, term, usd, source, note, previous_usd + month_usd as size
    from chosen
    where segment = 'all' or usd <> 0
    union all
    select distinct
        month, segment, 0 as place, 'bill of the month before' as term, previous_usd as usd, source, note,
        previous_usd + month_usd as size
    from chosen
    where month is not null
    union all
    select distinct
        month, segment, 2 as place, 'bill of the month' as term, month_usd as usd, source, note,
        previous_usd + month_usd as size
    from chosen
    where month is not null
)

select
    strftime(month, '%Y-%m') as month,
    segment,
    term,
    usd,
    source,
    note
from steps
order by segment <> 'all', size desc, segment, place, abs(usd) desc, term
