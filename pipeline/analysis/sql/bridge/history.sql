-- First and last day with metered usage in force or with a bill; null without any.
select
    min(usage_date) as first_day,
    max(usage_date) as last_day
from (
    select usage_date from marts.charges
    where is_in_force and billing_mode = 'metered'
    union all
    select usage_date from marts.billed_costs
) as days
