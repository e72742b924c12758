{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    The two channels of a provider's account (exports of its console, and pages of its API) on days that both have:
    one counts, the other one checks it. Keys and workspaces are left out, because exports have their names and APIs
    their ids.
#}
with usage_days as (
    select
        provider,
        usage_date
    from {{ ref('int_console_usage') }}
    where {{ in_scope('usage_date') }}
    group by provider, usage_date
    having min(channel) <> max(channel)
),

usage as (
    select * from {{ ref('int_console_usage') }}
    where (provider, usage_date) in (select (provider, usage_date) from usage_days)
),

cost_days as (
    select
        provider,
        usage_date
    from {{ ref('int_billed_costs') }}
    where {{ in_scope('usage_date') }}
    group by provider, usage_date
    having min(channel) <> max(channel)
),

costs as (
    select * from {{ ref('int_billed_costs') }}
    where (provider, usage_date) in (select (provider, usage_date) from cost_days)
),

days as (
    select
        'usage' as account_of,
        provider,
        usage_date,
        max(channel) filter (where is_in_force) as channel_in_force,
        bool_and(list_contains(string_split(stated, ','), 'model')) as states_model,
        true as states_kind
    from usage
    group by provider, usage_date
    union all
    select
        'cost' as account_of,
        provider,
        usage_date,
        max(channel) filter (where is_in_force) as channel_in_force,
        bool_and(states_kind) as states_model,
        bool_and(states_kind) as states_kind
    from costs
    group by provider, usage_date
),

amounts as (
    {% for column, kind in rate_columns().items() -%}
    select
        'usage' as account_of,
        provider,
        usage_date,
        model,
        '{{ kind }}' as token_kind,
        is_in_force,
        {{ column }} as tokens,
        null::decimal(38, 12) as cost_usd,
        0::decimal(38, 12) as rounding_tolerance_usd
    from usage
    where {{ column }} > 0
    union all
    {% endfor -%}
    select
        'cost' as account_of,
        provider,
        usage_date,
        model,
        token_kind,
        is_in_force,
        null::bigint as tokens,
        cost_usd,
        rounding_tolerance_usd
    from costs
),

cells as (
    select
        amounts.account_of,
        amounts.provider,
        amounts.usage_date,
        if(days.states_model, amounts.model, '') as model,
        if(days.states_kind, amounts.token_kind, '') as token_kind,
        days.channel_in_force,
        sum(amounts.tokens) filter (where amounts.is_in_force) as in_force_tokens,
        sum(amounts.tokens) filter (where not amounts.is_in_force) as checking_tokens,
        sum(amounts.cost_usd) filter (where amounts.is_in_force) as in_force_usd,
        sum(amounts.cost_usd) filter (where not amounts.is_in_force) as checking_usd,
        sum(amounts.rounding_tolerance_usd) as tolerance_usd
    from amounts
    inner join days using (account_of, provider, usage_date)
    group by all
),

compared as (
    select
        account_of,
        provider,
        usage_date,
        model,
        token_kind,
        channel_in_force,
        if(account_of = 'usage', coalesce(in_force_tokens, 0), null)::bigint as in_force_tokens,
        if(account_of = 'usage', coalesce(checking_tokens, 0), null)::bigint as checking_tokens,
        if(account_of = 'cost', coalesce(in_force_usd, 0), null)::decimal(38, 12) as in_force_usd,
        if(account_of = 'cost', coalesce(checking_usd, 0), null)::decimal(38, 12) as checking_usd,
        if(account_of = 'cost', tolerance_usd, null)::decimal(38, 12) as tolerance_usd
    from cells
)

select
    usage_date,
    provider,
    account_of,
    model,
    token_kind,
    channel_in_force,
    in_force_tokens,
    checking_tokens,
    in_force_tokens - checking_tokens as token_gap,
    in_force_usd,
    checking_usd,
    (in_force_usd - checking_usd)::decimal(38, 12) as usd_gap,
    tolerance_usd,
    coalesce(in_force_tokens <> checking_tokens, abs(in_force_usd - checking_usd) > tolerance_usd) as is_different
from compared
order by usage_date, provider, account_of, model, token_kind
