-- Cells that differ between two channels.
select
    usage_date,
    provider,
    account_of,
    model,
    token_kind,
    channel_in_force,
    in_force_tokens,
    checking_tokens,
    token_gap,
    in_force_usd,
    checking_usd,
    usd_gap,
    tolerance_usd
from marts.channel_comparison
where is_different
order by all
