-- Cells of the comparison with the side that explains them (the logs if they are compared, else the provider's usage) and
-- the explained part of the bill.
create or replace temp view cells as
select
    *,
    logged_tokens is not null as has_logs,
    billed_cost_usd is not null as has_bill,
    status not in ('out_of_scope', 'not_comparable') and billed_cost_usd is not null and console_cost_usd is not null
        as is_priced,
    -- no log contains this key on this day
    coalesce(sum(logged_tokens_high) over (partition by usage_date, provider, api_key, workspace) = 0, false) as is_silent,
    coalesce(if(logged_tokens is not null, logged_cost_usd, console_cost_usd), 0) as computed_usd,
    case
        when status in ('matched', 'within_rounding', 'consistent') then billed_cost_usd
        else greatest(least(billed_cost_usd, computed_usd), 0)
    end as explained_usd,
    -- without a bill: tokens that the provider counts beyond the logs, at the rate card
    coalesce(
        cost_gap_usd,
        if(billed_cost_usd is null, console_cost_usd - logged_cost_usd, billed_cost_usd)
    ) as gap_usd
from marts.usage_reconciliation
