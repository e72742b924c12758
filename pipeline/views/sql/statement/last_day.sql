-- The last day with usage or a bill in the data.
select max(usage_date) as last_day
from (
    select max(usage_date) as usage_date from marts.charges
    union all
    select max(usage_date) from marts.billed_costs
) as days
