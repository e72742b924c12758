-- (cluster, value, count) lines of the chosen segments, for a cluster bootstrap. Clusters are users where users have
-- several sessions, else sessions; weeks for minutes and days. Rows that name no user may all be of one person: beside
-- users they are one cluster. More than 1,000 are hashed into 1,000.
with valued as (
    select
        segment,
        dimension,
        user_id,
        session_id,
        observed_at,
        case
            when $is_cost then cast(round(cost_usd * 1000000000) as double)
            else cast(total_tokens as double)
        end as value
    from chosen
    where case when $is_cost then cost_usd is not null else total_tokens is not null end
),

units as (
    select
        segment,
        case
            when count(session_id) = 0 then 'week'
            when dimension <> 'user_id'
                and count(distinct user_id) filter (where user_id <> '')
                < count(distinct session_id) filter (where user_id <> '')
                then 'user'
            else 'session'
        end as unit
    from valued
    group by segment, dimension
),

clustered as (
    select
        segment,
        unit,
        value,
        case
            when unit = 'week' then cast(date_diff('day', date '1970-01-05', observed_at) // 7 as varchar)
            when unit = 'user' then coalesce(user_id, '')
            else session_id
        end as name
    from valued
    inner join units using (segment)
),

names as (
    select
        segment,
        name,
        row_number() over (partition by segment order by name) as place,
        count(*) over (partition by segment) as clusters
    from clustered
    group by segment, name
)

select
    segment,
    unit,
    case when clusters > 1000 then cast(hash(name) % 1000 as bigint) else place end as cluster,
    value,
    count(*) as rows
from clustered
inner join names using (segment, name)
group by all
order by segment, cluster, value
