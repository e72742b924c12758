-- Sessions that are expensive for their own user or key, with what makes the difference.
with amounts as (
    select
        segment,
        session_id,
        unnest(json_keys(contributions)) as cause,
        cast(json_extract_string(contributions, unnest(json_keys(contributions))) as decimal(38, 12)) as usd
    from analysis.outliers
    where measure = 'session_cost_usd' and method = 'robust' and contributions is not null
),

named as (
    select
        *,
        case cause
            when 'requests_per_session' then 'more requests'
            when 'tokens_per_request' then 'longer requests'
            when 'model_mix' then 'more expensive models'
            when 'cache_share' then 'less from the cache'
            else replace(cause, '_', ' ')
        end as reason
    from amounts
    where usd >= 0.01
),

explained as (
    select
        segment,
        session_id,
        string_agg(format('{}: $${:.2f}', reason, cast(usd as double)), ', ' order by usd desc, cause) as causes
    from named
    group by all
)

select
    outliers.session_id,
    sessions.session_started_at,
    sessions.estimated_cost_usd as cost_usd,
    if(starts_with(outliers.segment, 'user_id='), 'user ', 'API key ') || substr(outliers.segment, strpos(outliers.segment, '=') + 1) as owner,
    tails.median as usual_usd,
    outliers.value / nullif(tails.median, 0) as times_usual,
    coalesce(explained.causes, 'not known') as causes
from analysis.outliers as outliers
inner join marts.token_usage_sessions as sessions on outliers.session_id = sessions.session_id
left join analysis.tail_metrics as tails on outliers.segment = tails.segment and outliers.measure = tails.measure
left join explained on outliers.segment = explained.segment and outliers.session_id = explained.session_id
where outliers.measure = 'session_cost_usd' and outliers.method = 'robust' and ${filters}
order by cost_usd desc, outliers.session_id, owner
