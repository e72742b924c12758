-- One row per provider for usage and one for cost: the cells that both channels have, how many differ, and by how much.
select
    provider,
    account_of,
    count(*) as rows_checked,
    count(*) filter (where is_different) as cells_different,
    coalesce(sum(abs(token_gap)), 0)::bigint as tokens_apart,
    coalesce(sum(abs(usd_gap)), 0)::decimal(38, 12) as usd_apart
from marts.channel_comparison
group by all
order by all
