-- From what is explained to the bill: one step for each kind of difference, and totals. Cells without a bill have no step.
with cells as (select * from (${cells}) where ${filters}),

labels as (
    select named.*
    from (values
        ('unlogged', 'Billed, in no log', 2, false),
        ('mispriced', 'Billed at another rate', 3, false),
        ('unbilled', 'Logged, not billed', 4, false),
        ('late', 'Export ends too early', 5, false),
        ('unpriced', 'No rate for it', 6, false),
        ('consistent', 'Sessions across midnight', 7, false),
        ('within_rounding', 'Rounding to the cent', 8, false),
        ('not_comparable', 'On the bill alone', 10, true),
        ('credit', 'Credits', 11, true),
        ('out_of_scope', 'Other keys', 12, true)
    ) as named (status, step, place, is_outside)
),

sums as (
    select
        if(token_kind = 'credit' and status <> 'out_of_scope', 'credit', status) as status,
        count(*) as cells,
        sum(if(status = 'out_of_scope', 0, computed_usd)) as computed_usd,
        sum(billed_cost_usd) as billed_usd,
        bool_or(has_logs and status <> 'out_of_scope') as has_logs
    from cells
    where has_bill
    group by all
),

differences as (
    select
        labels.place,
        labels.step,
        sums.billed_usd - sums.computed_usd as usd,
        labels.is_outside,
        sums.cells
    from sums
    inner join labels on sums.status = labels.status
),

totals as (
    select
        sum(computed_usd) as computed_usd,
        sum(cells) filter (where status not in (select labels.status from labels where labels.is_outside)) as cells_compared,
        sum(cells) as cells,
        bool_or(has_logs) as has_logs
    from sums
),

steps as (
    select 1 as place, if(has_logs, 'Logged', 'Usage at the rate card') as step, computed_usd as usd, true as is_total, cells_compared as cells
    from totals
    where cells > 0
    union all
    select place, step, usd, false, cells
    from differences
    where usd <> 0
    union all
    select 9, 'Bill, compared', computed_usd + coalesce((select sum(usd) from differences where not is_outside), 0), true, cells_compared
    from totals
    where cells > 0
    union all
    select 13, 'Whole bill', computed_usd + (select sum(usd) from differences), true, cells
    from totals
    where exists (from differences where is_outside and usd <> 0)
)

select
    step,
    cast(usd as decimal(38, 12)) as usd,
    is_total,
    cast(coalesce(cells, 0) as bigint) as cells
from steps
order by place
