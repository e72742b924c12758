-- One row per day, source and model: the tokens in the audit table, and an independent sum of marts.token_usage_minutes.
with

audit as (
    select usage_date, source, model, rows, rows_off, parts, total from marts.token_sum_audit
),

minutes as (
    select
        usage_date,
        source,
        model,
        count(*) as rows_in_minutes,
        sum(total_tokens)::bigint as minutes_total
    from marts.token_usage_minutes
    group by all
)

select
    coalesce(audit.usage_date, minutes.usage_date) as usage_date,
    coalesce(audit.source, minutes.source) as source,
    coalesce(audit.model, minutes.model) as model,
    coalesce(minutes.rows_in_minutes, audit.rows, 0)::bigint as rows_checked,
    audit.rows_off::bigint as rows_off,
    audit.parts::bigint as parts,
    audit.total::bigint as total,
    minutes.minutes_total
from audit
full outer join minutes
    on audit.usage_date is not distinct from minutes.usage_date
    and audit.source is not distinct from minutes.source
    and audit.model is not distinct from minutes.model
order by all
