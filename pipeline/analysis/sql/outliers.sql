-- Sessions outside the fences of one method, largest first. Sums are exact integers: every run gives the same digits,
-- whatever the order of its threads.
with valued as (
    select
        session_id,
        case
            when $is_cost then cast(round(cost_usd * 1000000000) as hugeint)
            else cast(total_tokens as hugeint)
        end as value
    from observations
    where value is not null
),

centre as (
    select cast(sum(value) // count(*) as hugeint) as whole_mean
    from valued
),

moments as (
    select
        any_value(whole_mean) as whole_mean,
        count(*) as n,
        cast(sum(value - whole_mean) as double) as first,
        cast(sum((value - whole_mean) * (value - whole_mean)) as double) as second,
        quantile_cont(cast(value as double), 0.25) as first_quartile,
        quantile_cont(cast(value as double), 0.75) as third_quartile
    from valued, centre
),

fences as (
    select
        n,
        cast(whole_mean as double) + first / n as mean,
        sqrt(greatest(second - first * first / n, 0) / (n - 1)) as sd,
        first_quartile,
        third_quartile,
        third_quartile - first_quartile as iqr
    from moments
    where n >= $min_rows
),

scored as (
    select
        session_id,
        cast(value as double) as value,
        case
            when $method = 'z' then (value - mean) / nullif(sd, 0)
            when value > third_quartile then (value - third_quartile) / nullif(iqr, 0)
            when value < first_quartile then (value - first_quartile) / nullif(iqr, 0)
            else 0
        end as score,
        case when $method = 'z' then mean else third_quartile end as upper_origin,
        case when $method = 'z' then mean else first_quartile end as lower_origin
    from valued, fences
)

select
    session_id,
    value / $unit as value,
    score,
    case when score > 0 then upper_origin else lower_origin end / $unit as origin
from scored
where abs(score) > $fence
order by value desc, session_id
limit $outlier_limit
