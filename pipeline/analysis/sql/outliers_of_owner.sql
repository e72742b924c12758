-- Sessions of the chosen users and keys above the fence of each, largest first.
with valued as (
    select
        segment,
        session_id,
        cast(round(cost_usd * 1000000000) as double) as value
    from chosen
    where cost_usd is not null
)

select
    segment,
    session_id,
    value / $unit as value
from valued
where value > $fences[segment + 1]
qualify row_number() over (partition by segment order by value desc, session_id) <= $outlier_limit
order by segment, value desc, session_id
