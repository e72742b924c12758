-- A month's usage by one dimension: in force, or of users in the logs.
select
    ${by} as name,
    cast(coalesce(sum(cost_usd), 0) as decimal(38, 12)) as cost_usd,
    cast(coalesce(sum(tokens) filter (where token_kind <> 'web_search'), 0) as bigint) as tokens
from marts.charges
where
    ${filters} and billing_mode = 'metered'
    and usage_date >= $$month and usage_date < $$month + interval 1 month
    and ($$team is null or team = $$team)
group by ${by}
order by cost_usd desc, tokens desc, ${by}
