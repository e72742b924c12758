-- Facts about a month to check before closing it.
with covered as (
    select distinct
        unnest(generate_series(first_usage_date::timestamp, last_usage_date::timestamp, interval 1 day))::date as usage_date
    from ingest.files
    where
        format in (${billed_formats}) and status = 'loaded' and rows_loaded > 0 and first_usage_date is not null
)

select
    (
        select count(distinct usage_date) from marts.charges where date_trunc('month', usage_date) = $$1
    )::bigint as days_used,
    (
        select count(*) from covered where date_trunc('month', usage_date) = $$1
    )::bigint as days_billed,
    day(last_day($$1::date))::bigint as days,
    coalesce((
        select sum(tokens) from marts.charges where date_trunc('month', usage_date) = $$1 and cost_usd is null
    ), 0)::bigint as unpriced_tokens,
    coalesce((
        select sum(cost_usd) from marts.billed_costs where date_trunc('month', usage_date) = $$1
    ), 0)::decimal(38, 12) as billed_usd
