-- Possible savings by rank, and what 30 days cost on average in their window.
with savings as (
    select * from analysis.recommendations where rank is not null
),

costs as (
    select
        sum(cost_usd) as cost_usd,
        (select max(last_usage_date) - min(first_usage_date) + 1 from savings) as days
    from marts.charges
    where
        is_in_force and billing_mode = 'metered'
        and usage_date >= (select min(first_usage_date) from savings) and usage_date <= (select max(last_usage_date) from savings)
),

chosen as (
    select *, regexp_extract(evidence, 'Most expensive sessions: ([^,]+?)(,|\.( |$$))', 1) as example
    from savings
    where ${filters}
)

select
    savings.rank,
    case savings.kind
        when 'cache_policy' then 'another lifetime of the cache'
        when 'cache_writes_never_read' then 'cache writes that are never read'
        when 'lost_cache' then 'caches that expire in a pause'
        when 'long_context_surcharge' then 'prompts above the long-context limit'
        when 'runaway_sessions' then 'sessions that run away'
        else replace(savings.kind, '_', ' ')
    end as what,
    if(savings.api_key = '' and savings.project <> '', 'project ' || savings.project, savings.api_key) as owner,
    savings.api_key,
    savings.project,
    savings.model,
    savings.action,
    savings.saving_usd_per_month,
    savings.hindsight_usd_per_month,
    savings.held_out_usd,
    savings.confidence,
    savings.evidence,
    savings.requests,
    savings.first_usage_date,
    savings.last_usage_date,
    savings.active_days,
    sessions.session_id,
    savings.combined_usd_per_month,
    savings.applied_order,
    cast(costs.cost_usd * 30 / costs.days as decimal(38, 12)) as cost_usd_per_month
from chosen as savings
cross join costs
left join marts.token_usage_sessions as sessions on savings.example = sessions.session_id
order by savings.rank
