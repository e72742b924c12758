-- (cluster, value, count) lines of one segment for a bootstrap that resamples what belongs together: users where they
-- repeat, else sessions; weeks of minutes and days. Many clusters are dealt into a thousand by the hash of their name.
with chosen as (
    select
        user_id,
        session_id,
        observed_at,
        case
            when $is_cost then cast(round(cost_usd * 1000000000) as double)
            else cast(total_tokens as double)
        end as value
    from observations
    where key = $key
        and case when $is_cost then cost_usd is not null else total_tokens is not null end
),

units as (
    select
        case
            when count(session_id) = 0 then 'week'
            when $dimension <> 'user_id'
                and count(distinct user_id) filter (where user_id <> '')
                < count(distinct session_id) filter (where user_id <> '')
                then 'user'
            else 'session'
        end as unit
    from chosen
),

clustered as (
    select
        unit,
        value,
        case
            when unit = 'week' then cast(date_diff('day', date '1970-01-05', observed_at) // 7 as varchar)
            when unit = 'user' and user_id <> '' then 'user ' || user_id
            else 'session ' || session_id
        end as name
    from chosen, units
),

names as (
    select
        name,
        row_number() over (order by name) as place,
        count(*) over () as clusters
    from clustered
    group by name
)

select
    unit,
    case when clusters > 1000 then cast(hash(name) % 1000 as bigint) else place end as cluster,
    value,
    count(*) as rows
from clustered
inner join names using (name)
group by all
order by cluster, value
