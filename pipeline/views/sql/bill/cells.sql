-- Cells of the comparison: the side that explains each (the logs if they are compared, else the provider's usage), the
-- explained part of its bill, and whether the bill could be checked.
with compared_cells as (
    select
        *,
        logged_tokens is not null as has_logs,
        billed_cost_usd is not null as has_bill,
        status in ('matched', 'within_rounding', 'consistent') as is_tied_out,
        status not in ('out_of_scope', 'not_comparable') as is_compared,
        abs(billed_cost_usd - console_cost_usd) <= rounding_tolerance_usd as is_priced_right,
        coalesce(if(logged_tokens is not null, logged_cost_usd, console_cost_usd), 0) as computed_usd,
        -- without a bill: tokens that the provider counts beyond the logs, at the rate card
        coalesce(
            cost_gap_usd,
            if(billed_cost_usd is null, console_cost_usd - logged_cost_usd, billed_cost_usd)
        ) as gap_usd
    from marts.usage_reconciliation
),

explained as (
    select
        *,
        if(is_tied_out, billed_cost_usd, greatest(least(billed_cost_usd, computed_usd), 0)) as explained_usd,
        -- why this amount could not be checked; '' where it could
        case
            when not has_bill or (is_priced_right and status <> 'not_comparable') or is_tied_out then ''
            when token_kind = 'credit' then 'credit'
            when not contains(compared, '+') then 'no_usage'
            when status = 'not_comparable' then 'kind_without_usage'
            when status in ('unpriced', 'late') then status
            when console_cost_usd is not null then ''
            when status in ('out_of_scope', 'unlogged') then status
            else ''
        end as unchecked_why
    from compared_cells
)

select
    *,
    -- the three parts of the bill. Where only logs stand beside it, what they explain is right.
    case
        when unchecked_why = 'unlogged' then explained_usd
        when unchecked_why = '' and (is_tied_out or is_priced_right) then billed_cost_usd
        else 0
    end as right_usd,
    case
        when unchecked_why = 'unlogged' then billed_cost_usd - explained_usd
        when unchecked_why <> '' then billed_cost_usd
        else 0
    end as unchecked_usd,
    if(unchecked_why = '' and not (is_tied_out or coalesce(is_priced_right, false)), billed_cost_usd, 0) as differing_usd
from explained
