-- Sessions that are expensive for their own user or key, with what makes the difference.
select
    outliers.session_id,
    sessions.session_started_at,
    sessions.estimated_cost_usd as cost_usd,
    outliers.segment,
    tails.median as usual_usd,
    outliers.value / nullif(tails.median, 0) as times_usual,
    outliers.contributions
from analysis.outliers as outliers
inner join marts.token_usage_sessions as sessions on outliers.session_id = sessions.session_id
left join analysis.tail_metrics as tails on outliers.segment = tails.segment and outliers.measure = tails.measure
where outliers.measure = 'session_cost_usd' and outliers.method = 'robust' and ${filters}
order by cost_usd desc, outliers.session_id, outliers.segment
