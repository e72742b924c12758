-- The explained part of the bill by day, key or model (dimension), over comparable cells.
select
    case $$dimension
        when 'day' then usage_date::varchar
        when 'key' then if(api_key = '', '(all keys of the day)', api_key)
        when 'model' then model
    end as name,
    sum(billed_cost_usd) as billed_usd,
    sum(explained_usd) as explained_usd,
    count(*) as cells,
    count(*) filter (where status in ('matched', 'within_rounding', 'consistent')) as cells_tied_out
from cells
where has_bill and status not in ('out_of_scope', 'not_comparable')
group by all
order by if($$dimension = 'day', 0, billed_usd) desc, name
