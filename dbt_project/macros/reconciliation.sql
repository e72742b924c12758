{# The status of a cell of usage_reconciliation: each is asked only after those before it. #}
{% macro reconciliation_status() -%}
    case
        when is_outside then 'out_of_scope'
        -- what usage exports and logs do not list (code execution, session usage) is only ever billed
        when n_sides < 2 or token_kind not in ('{{ rate_columns().values() | join("', '") }}') then 'not_comparable'
        when
            (has_console and console_cost_usd is null) or (has_logged and logged_cost_usd is null)
            then 'unpriced'
        when
            (
                has_console and has_billed and console_ends_inside_day
                and billed_beyond_console_usd > rounding_tolerance_usd
            )
            or (has_console and has_logged and console_ends_before_logs and logged_tokens_low > console_tokens)
            or (
                has_billed and has_logged and not has_console and billed_ends_before_logs
                and logs_beyond_billed_usd > rounding_tolerance_usd
            )
            then 'late'
        when
            has_console and has_billed and console_tokens > 0 and billed_rows > 0
            and abs(billed_beyond_console_usd) > rounding_tolerance_usd
            then 'mispriced'
        when
            has_billed and has_logged and not has_console and billed_cost_usd > 0
            and logs_beyond_billed_usd > rounding_tolerance_usd and not is_rate_confirmed
            then 'mispriced'
        when
            (has_console and has_logged and console_tokens > logged_tokens_high)
            or (
                has_billed and coalesce(console_tokens, 0) = 0
                and if(has_logged, billed_beyond_logs_usd, billed_cost_usd) > rounding_tolerance_usd
            )
            then 'unlogged'
        when
            (has_console and has_billed and billed_rows = 0 and console_cost_usd > 0)
            or (has_billed and has_logged and not has_console and logs_beyond_billed_usd > rounding_tolerance_usd)
            or (
                has_console and has_logged and console_tokens < logged_tokens_low
                -- unless the bill confirms logs of which the usage export knows nothing
                and not (
                    coalesce(console_tokens = 0 and billed_cost_usd > 0, false)
                    and logs_beyond_billed_usd <= rounding_tolerance_usd
                )
            )
            then 'unbilled'
        when has_logged and logged_tokens_low < logged_tokens_high then 'consistent'
        when has_billed and cost_gap_usd <> 0 then 'within_rounding'
        else 'matched'
    end
{%- endmacro %}

{#
    What the rows of a day of usage_reconciliation rest on beside the cells of that day, as a chain of CTEs over int_reconciliation:
    which key pays for logs, which side takes part on which day, and how keys and workspaces are told apart. All of it follows
    from one row a day, side and key (`key_days`), which is small.
#}
{% macro reconciliation_facts() -%}
cells as (
    select * from {{ ref('int_reconciliation') }}
),

files as (
    select * from {{ source('ingest', 'files') }}
    where status = 'loaded' and rows_loaded > 0 and first_usage_date is not null
),

rules as (
    select count(*) > 0 as is_declared from {{ source('raw', 'reconciliation_scope') }}
),

subscriptions as (
    select distinct api_key from {{ source('raw', 'billing_modes') }}
    where api_key <> '' and billing_mode = 'subscription'
),

key_days as (
    select
        usage_date,
        side,
        source_format,
        provider,
        api_key,
        workspace,
        key_origin,
        last_usage_date,
        sum(tokens) as tokens,
        sum(cost_usd) as cost_usd,
        max(known_to) as known_to,
        -- rows of later days rest on the very cells of sessions that span midnight
        bit_xor(
            if(last_usage_date > usage_date, hash(model, token_kind, is_session, cells.tokens, cells.cost_usd), 0)
        ) as spanning
    from cells
    group by all
),

---------- which key pays for logs

-- Keys of the account that cost something on a day; where no bill covers it, keys that used something.
account_keys as (
    select usage_date, provider, api_key, workspace, side
    from key_days
    where side in ('console', 'billed')
    group by all
    having if(side = 'billed', sum(cost_usd) <> 0, sum(tokens) > 0)
),

days_without_key as (
    select distinct source_format, provider, usage_date
    from key_days
    where side = 'logged' and key_origin = ''
),

candidates as (
    select
        days.source_format,
        days.provider,
        account_keys.side,
        min({api_key: account_keys.api_key, workspace: account_keys.workspace}) as paying,
        count(distinct {api_key: account_keys.api_key, workspace: account_keys.workspace}) as n_keys
    from days_without_key as days
    inner join account_keys using (usage_date, provider)
    group by all
),

-- Where no key of the account used anything on the days of such logs, they are of another account.
known_accounts as (
    select distinct source_format, provider from candidates
),

inferred as (
    select
        source_format,
        provider,
        arg_min(paying, side) as paying
    from candidates
    where not (select is_declared from rules)
    group by source_format, provider
    -- 'billed' sorts before 'console'
    having arg_min(n_keys, side) = 1
),

logged_key_sums as (
    {{ logs_of('key_days') }}
),

logs_in_scope as (
    select * from logged_key_sums
    where scope not in ('unassigned', 'unknown')
),

---------- which side takes part

log_spans as (
    select
        source_format,
        provider,
        min(usage_date) as first_day,
        max(last_usage_date) as last_day,
        -- these logs speak for every key of the account
        bool_or(scope in ('stated', 'collapsed')) and not (select is_declared from rules) as is_open
    from logs_in_scope
    group by source_format, provider
),

log_providers as (
    select
        provider,
        bool_or(is_open) as is_open,
        max(last_day) as last_day
    from log_spans
    group by provider
),

log_days as (
    select
        provider,
        source_format,
        is_open,
        unnest(generate_series(first_day::timestamp, last_day::timestamp, interval 1 day))::date as usage_date
    from log_spans
),

logged_keys as (
    select
        provider,
        api_key,
        source_format,
        min(scope) as scope
    from logs_in_scope
    group by all
),

key_scopes as (
    select
        provider,
        api_key,
        min(scope) as scope
    from logged_keys
    group by all
),

-- Days on which logs speak for a key, and those on which they speak for all keys.
logged_key_days as (
    select distinct log_days.provider, log_days.usage_date, logged_keys.api_key
    from log_days
    inner join logged_keys using (provider, source_format)
),

logged_days as (
    select
        provider,
        usage_date,
        bool_or(is_open) as is_open
    from log_days
    group by all
),

covered as (
    select
        account_formats.provider,
        account_formats.side,
        files.last_usage_date,
        unnest(generate_series(files.first_usage_date::timestamp, files.last_usage_date::timestamp, interval 1 day))::date
            as usage_date
    from files
    inner join raw.account_formats using (format)
),

exported_days as (
    select
        provider,
        usage_date,
        bool_or(side = 'console') as is_console_day,
        bool_or(side = 'console' and last_usage_date > usage_date) as console_goes_on,
        bool_or(side = 'billed') as is_billed_day
    from covered
    group by provider, usage_date
),

export_ends as (
    select
        provider,
        max(last_usage_date) filter (where side = 'console') as console_last_day,
        max(last_usage_date) filter (where side = 'billed') as billed_last_day
    from covered
    group by provider
),

-- Where no export goes on after a day, an hour or minute export may end inside it.
known_to as (
    select
        usage_date,
        provider,
        max(known_to) filter (where side = 'console') as console_known_to
    from key_days
    group by all
),

logs_known_to as (
    select
        provider,
        usage_date,
        max(known_to) as logs_known_to
    from logs_in_scope
    group by all
),

---------- what is told apart

key_sides as (
    select usage_date, provider, api_key, workspace, side, source_format, '' as scope, 0::ubigint as spanning
    from key_days
    where side <> 'logged'
    union all
    select
        unnest(generate_series(usage_date::timestamp, last_usage_date::timestamp, interval 1 day))::date as usage_date,
        provider, api_key, workspace, side, source_format, scope, spanning
    from logged_key_sums
),

-- Where a side does not name the key and another one does, the keys of that day are one.
collapsed_days as (
    select usage_date, provider
    from key_sides
    where scope not in ('unassigned', 'unknown')
    group by usage_date, provider
    having bool_or(api_key = '') and bool_or(api_key <> '')
),

-- The workspace of a log is the one in which the account knows its key, if there is but one.
account_workspaces as (
    select
        provider,
        api_key,
        min(workspace) as workspace,
        count(distinct workspace) as n_workspaces
    from key_days
    where workspace <> '' and side <> 'logged'
    group by provider, api_key
),

day_facts as (
    select
        days.usage_date,
        days.provider,
        collapsed_days.usage_date is not null as is_collapsed,
        coalesce(exported_days.is_console_day, false) as is_console_day,
        coalesce(exported_days.is_billed_day, false) as is_billed_day,
        logged_days.usage_date is not null as is_logged_day,
        coalesce(logged_days.is_open, false) as is_open_day,
        log_providers.provider is not null as has_logs,
        -- logs speak for keys which none of them names
        coalesce(logged_days.is_open, log_providers.is_open) as is_open,
        -- late: the export ends before the other side does
        not coalesce(exported_days.console_goes_on, false)
        and coalesce(known_to.console_known_to, days.usage_date::timestamp) < days.usage_date::timestamp + interval 1 day
            as console_ends_inside_day,
        coalesce(
            days.usage_date = export_ends.console_last_day
            and (
                log_providers.last_day > days.usage_date
                or logs_known_to.logs_known_to > coalesce(known_to.console_known_to, days.usage_date::timestamp)
            ),
            false
        ) as console_ends_before_logs,
        coalesce(days.usage_date = export_ends.billed_last_day and log_providers.last_day > days.usage_date, false)
            as billed_ends_before_logs
    from (select distinct usage_date, provider from key_sides) as days
    left join collapsed_days using (usage_date, provider)
    left join exported_days using (usage_date, provider)
    left join logged_days using (usage_date, provider)
    left join log_providers using (provider)
    left join known_to using (usage_date, provider)
    left join logs_known_to using (usage_date, provider)
    left join export_ends using (provider)
)
{%- endmacro %}

{# Rows of a relation whose side is our logs, with the key that pays for them and how that came to be known. #}
{% macro logs_of(relation) -%}
    select
        {{ relation }}.* exclude (api_key, workspace, key_origin),
        if({{ relation }}.key_origin = '', coalesce(inferred.paying.api_key, ''), {{ relation }}.api_key) as api_key,
        coalesce(if({{ relation }}.key_origin = '', inferred.paying.workspace, null), {{ relation }}.workspace) as workspace,
        case
            when {{ relation }}.key_origin <> '' then {{ relation }}.key_origin
            when inferred.paying is not null then 'inferred'
            when (select is_declared from rules) then 'unassigned'
            when known_accounts.source_format is not null then 'collapsed'
            else 'unknown'
        end as scope
    from {{ relation }}
    left join known_accounts using (source_format, provider)
    left join inferred
        on
            {{ relation }}.key_origin = ''
            and {{ relation }}.source_format = inferred.source_format
            and {{ relation }}.provider = inferred.provider
    where {{ relation }}.side = 'logged'
{%- endmacro %}

{#
    Days of usage_reconciliation to build: those in scope, and those of which the facts differ from the ones by which the rows
    that stand were built. Runs before the model; one value a day stands for its facts.
#}
{% macro plan_reconciliation() -%}
create or replace table scope.reconciliation_facts as
with {{ reconciliation_facts() }},

-- A key may be compared as one with all others of its day.
keys as (
    select distinct usage_date, provider, api_key from key_sides
    union
    select distinct usage_date, provider, '' as api_key from key_sides
),

facts as (
    select usage_date, hash(1, day_facts) as fact
    from day_facts
    union all
    select
        keys.usage_date,
        hash(
            2, keys.provider, keys.api_key, key_scopes.scope, account_workspaces.workspace,
            account_workspaces.n_workspaces = 1, logged_key_days.usage_date
        ) as fact
    from keys
    left join key_scopes using (provider, api_key)
    left join account_workspaces using (provider, api_key)
    left join logged_key_days using (usage_date, provider, api_key)
    union all
    select usage_date, hash(3, distinct_logs) as fact
    from (
        select distinct usage_date, provider, source_format, api_key, workspace, scope, spanning
        from key_sides
        where side = 'logged'
    ) as distinct_logs
)

select usage_date as item, bit_xor(fact) as facts
from facts
group by usage_date;

delete from scope.reconciliation_days;
insert into scope.reconciliation_days
select item from scope.days
union
select item
from scope.reconciliation_facts as now
full join scope.reconciliation_built as built using (item)
where now.facts is distinct from built.facts
{%- endmacro %}

{# What was billed as a multiple of the rate card's cost: the least ('-') or most ('+') that rounding allows; null where unknown. #}
{% macro billed_multiple(sign, computed) -%}
    if(
        billed_rows > 0 and {{ computed }} > 0,
        (billed_cost_usd {{ sign }} rounding_tolerance_usd)::double / ({{ computed }})::double, null
    )
{%- endmacro %}

{#
    After the model: whether a cell of the same model and kind ties out, and no one rate explains both, is asked over all days,
    also those that were not built now (the model asks it of the days that it builds). And the facts of the days are noted.
#}
{% macro finish_reconciliation(built) -%}
{%- set is_confirmed = 'coalesce(ties.confirmed_multiple > ' ~ billed_multiple('+', 'logged_cost_usd') ~ ', false)' -%}
update {{ built }} as cells
set
    status = if({{ is_confirmed }}, 'unbilled', 'mispriced'),
    detectable_rate_change = if(
        {{ is_confirmed }} or billed_rows = 0, null,
        (rounding_tolerance_usd + abs(cost_gap_usd))::double / nullif(logged_cost_usd, 0)::double
    )
from (
    select
        provider, model, token_kind,
        max({{ billed_multiple('-', 'computed_cost_usd') }}) filter (
            where scope <> 'outside' and abs(billed_cost_usd - computed_cost_usd) <= rounding_tolerance_usd
        ) as confirmed_multiple
    from (
        select *, if(console_tokens is null, logged_cost_usd, console_cost_usd) as computed_cost_usd
        from {{ built }}
        where billed_cost_usd is not null
    ) as billed
    group by all
) as ties
where
    cells.provider = ties.provider and cells.model = ties.model and cells.token_kind = ties.token_kind
    and status in ('mispriced', 'unbilled') and console_tokens is null and billed_cost_usd > 0
    and (status = 'unbilled') <> {{ is_confirmed }};

delete from scope.reconciliation_built where item in (select item from scope.reconciliation_days);
insert into scope.reconciliation_built
select * from scope.reconciliation_facts where item in (select item from scope.reconciliation_days)
{%- endmacro %}
