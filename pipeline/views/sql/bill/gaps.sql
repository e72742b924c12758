-- The largest differences. Cells of one day, key, model and status are one gap, with its token kinds by size.
with cells as (select * from (${cells}) where ${filters}),

-- days on which no log contains a key
silent as (
    select usage_date, provider, api_key, workspace
    from marts.usage_reconciliation
    group by all
    having sum(logged_tokens_high) = 0
)

select
    cells.usage_date,
    cells.provider,
    cells.model,
    cells.api_key,
    cells.workspace,
    cells.status,
    coalesce(sum(cells.console_tokens), 0)::bigint as console_tokens,
    sum(cells.logged_tokens_low)::bigint as logged_tokens_low,
    sum(cells.logged_tokens_high)::bigint as logged_tokens_high,
    sum(cells.billed_cost_usd) as billed_cost_usd,
    sum(cells.computed_usd) as computed_usd,
    sum(cells.gap_usd) as gap_usd,
    bool_and(silent.usage_date is not null) as is_silent,
    list(
        {kind: cells.token_kind, gap_usd: cells.gap_usd, low: cells.implied_rate_low, high: cells.implied_rate_high}
        order by abs(cells.gap_usd) desc, cells.token_kind
    ) as kinds
from cells
left join silent
    on
        cells.usage_date = silent.usage_date
        and cells.provider = silent.provider
        and cells.api_key = silent.api_key
        and cells.workspace = silent.workspace
where cells.status in ('late', 'mispriced', 'unlogged', 'unbilled', 'unpriced') and cells.gap_usd <> 0
group by all
order by abs(sum(cells.gap_usd)) desc, cells.usage_date, cells.model, cells.api_key, cells.workspace, cells.status
limit ${most}
