-- The largest differences. Cells of one day, key, model and status are one gap, with its token kinds by size.
select
    usage_date,
    provider,
    model,
    api_key,
    workspace,
    status,
    coalesce(sum(console_tokens), 0)::bigint as console_tokens,
    sum(logged_tokens_low)::bigint as logged_tokens_low,
    sum(logged_tokens_high)::bigint as logged_tokens_high,
    sum(billed_cost_usd) as billed_cost_usd,
    sum(computed_usd) as computed_usd,
    sum(gap_usd) as gap_usd,
    bool_and(is_silent) as is_silent,
    list({kind: token_kind, gap_usd: gap_usd, low: implied_rate_low, high: implied_rate_high} order by abs(gap_usd) desc, token_kind)
        as kinds
from cells
where status in ('late', 'mispriced', 'unlogged', 'unbilled', 'unpriced') and gap_usd <> 0
group by usage_date, provider, model, api_key, workspace, status
order by abs(sum(gap_usd)) desc, usage_date, model, api_key, workspace, status
limit 10
