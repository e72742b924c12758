-- Number of sessions that started on the chosen days in the chosen segments, and the ten most expensive.
select
    segment,
    cast(observed_at as date) as usage_date,
    count(*) as sessions,
    max_by({session_id: session_id, cost_usd: cost_usd}, {cost: cost_usd, name: session_id}, 10)
        filter (where cost_usd is not null) as costliest
from chosen
where cast(observed_at as date) in (select unnest($days))
group by segment, usage_date
order by segment, usage_date
