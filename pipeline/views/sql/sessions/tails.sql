-- How unevenly session costs are distributed, for all sessions and by key, model, workspace, user and project.
select
    segment,
    n as sessions,
    median as median_usd,
    p95 as p95_usd,
    max as max_usd,
    top_1_share,
    half_of_total_share,
    month_variance_share_top_1,
    case verdict
        when 'heavy' then 'yes'
        when 'light' then 'no'
        when 'undetermined' then 'uncertain'
        when 'too_few' then 'too few sessions'
        else 'not known'
    end as is_heavy,
    verdict_reason
from analysis.tail_metrics
where measure = 'session_cost_usd' and (segment = 'all' or (${filters}))
order by segment <> 'all', mean * n desc nulls last, segment
