-- The explained part of the bill by day, key or model (dimension), over comparable cells.
with cells as (select * from (${cells}) where ${filters})

select
    case $$dimension
        when 'day' then cast(usage_date as varchar)
        when 'key' then if(api_key = '', '(all keys of the day)', api_key)
        when 'model' then model
    end as name,
    sum(billed_cost_usd) as billed_usd,
    sum(explained_usd) as explained_usd,
    sum(billed_cost_usd) - sum(explained_usd) as open_usd,
    cast(sum(explained_usd) / nullif(sum(billed_cost_usd), 0) as double) as coverage,
    count(*) as cells,
    count(*) filter (where is_tied_out) as cells_tied_out
from cells
where has_bill and is_compared
group by all
order by if($$dimension = 'day', 0, billed_usd) desc, name
