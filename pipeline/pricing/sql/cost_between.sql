-- Cost of a range of days of temp.billing_days; null if none has a price.
select sum(cost_usd)::decimal(38, 12) as cost_usd
from billing_days
where usage_date between $$first and $$last
