-- Every cell of a closed month that differs from its last stated value: as booked, or as restated since.
insert into raw.restatements by name
with known_costs as (
    select month, side, provider, model, api_key, workspace, token_kind, tokens, unpriced_tokens, cost_usd, rates
    from raw.booked_costs
    union all by name
    select
        month, side, provider, model, api_key, workspace, token_kind,
        new_tokens as tokens, new_unpriced_tokens as unpriced_tokens, new_usd as cost_usd, rates, noticed_at
    from raw.restatements
    where side <> 'chargeback'
),

last_costs as (
    select * from known_costs
    qualify row_number() over (
        partition by month, side, provider, model, api_key, workspace, token_kind order by noticed_at desc nulls last
    ) = 1
),

costs as (
    select
        coalesce(old.month, new.month) as month,
        coalesce(old.side, new.side) as side,
        coalesce(old.provider, new.provider) as provider,
        coalesce(old.model, new.model) as model,
        coalesce(old.api_key, new.api_key) as api_key,
        coalesce(old.workspace, new.workspace) as workspace,
        coalesce(old.token_kind, new.token_kind) as token_kind,
        if(coalesce(old.side, new.side) = 'billed', null, coalesce(old.tokens, 0)) as old_tokens,
        if(coalesce(old.side, new.side) = 'billed', null, coalesce(new.tokens, 0)) as new_tokens,
        if(coalesce(old.side, new.side) = 'billed', null, coalesce(old.unpriced_tokens, 0)) as old_unpriced_tokens,
        if(coalesce(old.side, new.side) = 'billed', null, coalesce(new.unpriced_tokens, 0)) as new_unpriced_tokens,
        coalesce(old.cost_usd, 0) as old_usd,
        coalesce(new.cost_usd, 0) as new_usd,
        coalesce(old.rates, []) as old_rates,
        coalesce(new.rates, []) as rates
    from last_costs as old
    full join current_costs as new
        on
            old.month = new.month
            and old.side = new.side
            and old.provider = new.provider
            and old.model = new.model
            and old.api_key = new.api_key
            and old.workspace = new.workspace
            and old.token_kind = new.token_kind
),

changed as (
    select
        *,
        list_transform(rates, lambda rate: split_part(rate, '=', 1)) as tiers,
        -- a day and tier in both states, with a different rate
        len(list_filter(old_rates, lambda rate:
            list_contains(tiers, split_part(rate, '=', 1)) and not list_contains(rates, rate))) > 0
        as is_new_price,
        case
            when new_tokens > old_tokens then 'late usage'
            when new_tokens < old_tokens then 'usage withdrawn'
            else ''
        end as volume
    from costs
    where
        old_usd <> new_usd
        or old_tokens is distinct from new_tokens
        or old_unpriced_tokens is distinct from new_unpriced_tokens
),

known_chargeback as (
    select
        month, team, cost_centre, product, environment,
        (direct_usd + shared_usd + unallocated_usd)::decimal(38, 12) as total_usd,
        null::timestamp as noticed_at
    from raw.booked_chargeback
    union all
    select month, team, cost_centre, product, environment, new_usd, noticed_at
    from raw.restatements
    where side = 'chargeback'
),

last_chargeback as (
    select * from known_chargeback
    qualify row_number() over (
        partition by month, team, cost_centre, product, environment order by noticed_at desc nulls last
    ) = 1
),

current_chargeback as (
    select
        month, team, cost_centre, product, environment,
        (direct_usd + shared_usd + unallocated_usd)::decimal(38, 12) as total_usd
    from intermediate.int_chargeback_months
    semi join raw.closed_months using (month)
),

chargeback as (
    select
        coalesce(old.month, new.month) as month,
        coalesce(old.team, new.team) as team,
        coalesce(old.cost_centre, new.cost_centre) as cost_centre,
        coalesce(old.product, new.product) as product,
        coalesce(old.environment, new.environment) as environment,
        coalesce(old.total_usd, 0) as old_usd,
        coalesce(new.total_usd, 0) as new_usd
    from last_chargeback as old
    full join current_chargeback as new
        on
            old.month = new.month
            and old.team = new.team
            and old.cost_centre = new.cost_centre
            and old.product = new.product
            and old.environment = new.environment
    where coalesce(old.total_usd, 0) <> coalesce(new.total_usd, 0)
),

-- If the sum of a month's chargeback is unchanged, only its split has changed.
moved as (
    select month, sum(new_usd - old_usd) <> 0 as is_new_total
    from chargeback
    group by month
)

select
    $$1::timestamp as noticed_at,
    month, side, provider, model, api_key, workspace, token_kind,
    '' as team, '' as cost_centre, '' as product, '' as environment,
    old_tokens, new_tokens, old_unpriced_tokens, new_unpriced_tokens, old_usd, new_usd,
    case
        when side = 'billed' then 'another bill'
        when volume <> '' and is_new_price then volume || ' and new price'
        when volume <> '' then volume
        when new_unpriced_tokens < old_unpriced_tokens then 'price added'
        when new_unpriced_tokens > old_unpriced_tokens then 'price withdrawn'
        when is_new_price then 'new price'
        else 'other tier'
    end as cause,
    rates
from changed

union all

select
    $$1::timestamp,
    chargeback.month, 'chargeback', '', '', '', '', '',
    team, cost_centre, product, environment,
    null, null, null, null, old_usd, new_usd,
    if(moved.is_new_total, 'another bill', 'another allocation'),
    []
from chargeback
inner join moved using (month)
