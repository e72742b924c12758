-- What some days of temp.billing_days cost; null where nothing of them has a price
select sum(cost_usd)::decimal(38, 12) as cost_usd
from billing_days
where usage_date between $$first and $$last
