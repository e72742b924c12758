-- Days of each month that the provider's account, our logs and the bill cover.
select
    cast(date_trunc('month', usage_date) as date) as month,
    count(distinct usage_date) filter (where console_tokens is not null) as account_days,
    count(distinct usage_date) filter (where logged_tokens is not null) as logged_days,
    count(distinct usage_date) filter (where billed_cost_usd is not null) as billed_days,
    count(distinct usage_date) filter (where contains(compared, '+')) as compared_days,
    count(distinct usage_date) as days
from marts.usage_reconciliation
where ${filters}
group by all
order by month
