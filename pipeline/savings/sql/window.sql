-- The days of priced request-level usage, and the requests that have to be left out.
select
    min(requested_at::date) filter (where billing_mode = 'metered' and estimated_cost_usd is not null) as first_day,
    max(requested_at::date) filter (where billing_mode = 'metered' and estimated_cost_usd is not null) as last_day,
    count(*) as requests,
    coalesce(sum(estimated_cost_usd) filter (where billing_mode = 'metered'), 0)::decimal(38, 12) as metered_usd,
    coalesce(sum(estimated_cost_usd) filter (where billing_mode <> 'metered'), 0)::decimal(38, 12) as subscription_usd,
    count(*) filter (where estimated_cost_usd is null) as unpriced_requests,
    coalesce(sum(total_tokens) filter (where estimated_cost_usd is null), 0)::bigint as unpriced_tokens,
    count(*) filter (where source_format = 'claude_code') as claude_code_requests,
    count(*) filter (where source_format = 'claude_code' and output_tokens <= ${runaway_output_tokens})
        as claude_code_without_output
from marts.requests
where total_tokens > 0
