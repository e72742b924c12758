-- Number and cost of the sessions, how uneven they are, and the most expensive one.
with sessions as (
    select
        session_id,
        total_tokens,
        billing_mode = 'subscription' as is_of_seat,
        if(billing_mode = 'subscription', null, estimated_cost_usd) as cost_usd,
        estimated_cost_usd
    from marts.token_usage_sessions
    where ${filters}
),

ranked as (
    select
        session_id,
        cost_usd,
        row_number() over by_cost as place,
        sum(cost_usd) over by_cost as upto_usd,
        sum(cost_usd) over () as total_usd,
        count(*) over () as of_all
    from sessions
    where cost_usd is not null
    window by_cost as (order by cost_usd desc, session_id rows between unbounded preceding and current row)
),

summed as (
    select
        count(*) as priced,
        sum(cost_usd) as cost_usd,
        quantile_cont(cast(cost_usd as double), 0.5) as median_usd,
        quantile_cont(cast(cost_usd as double), 0.95) as p95_usd,
        max(cost_usd) as most_usd,
        arg_min(session_id, place) as most_expensive,
        count(*) filter (where total_usd > 0 and 2 * (upto_usd - cost_usd) < total_usd) as needed,
        -- the Lorenz curve at 1%: of the session at its edge, only the part inside
        sum(cast(cost_usd as double) * greatest(0, least(1, of_all / 100.0 - place + 1))) / nullif(cast(sum(cost_usd) as double), 0) as top_1_share
    from ranked
),

all_sessions as (
    select
        count(*) as sessions,
        count(*) filter (where estimated_cost_usd is null) as unpriced,
        count(*) filter (where is_of_seat) as of_seats
    from sessions
)

select * from all_sessions cross join summed
