{# Cost at the rate card of the provider's usage, else of our logs. #}
{% macro computed_cost(sides) -%}
    {%- set of = sides ~ '.' if sides else '' -%}
    if({{ of }}has_console, {{ of }}console_cost_usd, {{ of }}logged_cost_usd)
{%- endmacro %}

{#
    The billed amount as a multiple of the rate card's cost: the smallest ('-') or largest ('+') that rounding
    allows; null if unknown.
#}
{% macro billed_multiple(sign, computed) -%}
    if(
        billed_rows > 0 and {{ computed }} > 0,
        (billed_cost_usd {{ sign }} rounding_tolerance_usd)::double / ({{ computed }})::double, null
    )
{%- endmacro %}

{# One hash per day of all facts that its comparison depends on, other than its own cells. #}
{% macro reconciliation_facts() -%}
    select
        usage_date as item,
        bit_xor(fact) as facts
    from (
        select usage_date, hash('day', days) as fact from {{ ref('int_reconciliation_days') }} as days
        union all
        select usage_date, hash('key', keys) as fact from {{ ref('int_reconciliation_keys') }} as keys
    ) as found
    group by usage_date
{%- endmacro %}

{#
    Before int_reconciliation_sides: a day is rebuilt if it is in scope, or if a fact that it depends on has
    changed.
#}
{% macro plan_reconciliation() -%}
delete from scope.reconciliation_days;
insert into scope.reconciliation_days
select item from scope.days
union
select item
from ({{ reconciliation_facts() }}) as now
full join scope.reconciliation_built as built using (item)
where now.facts is distinct from built.facts
{%- endmacro %}

{#
    After usage_reconciliation: updates cells of other days whose rate is newly confirmed, or no longer. Stores the
    facts of the rebuilt days.
#}
{% macro finish_reconciliation(built) -%}
update {{ built }} as cells
set
    status = if(rates.is_confirmed, 'unbilled', 'mispriced'),
    detectable_rate_change = if(
        rates.is_confirmed or cells.billed_rows = 0, null,
        (cells.rounding_tolerance_usd + abs(cells.cost_gap_usd))::double / nullif(cells.logged_cost_usd, 0)::double
    )
from (
    select
        sides.usage_date, sides.provider, sides.model, sides.api_key, sides.workspace, sides.token_kind,
        coalesce(confirmed_rates.least_multiple > {{ billed_multiple('+', 'sides.logged_cost_usd') }}, false) as is_confirmed
    from {{ ref('int_reconciliation_sides') }} as sides
    left join {{ ref('int_confirmed_rates') }} as confirmed_rates using (provider, model, token_kind)
    where sides.has_logged and not sides.has_console and sides.billed_cost_usd > 0
) as rates
where
    cells.usage_date = rates.usage_date and cells.provider = rates.provider and cells.model = rates.model
    and cells.api_key = rates.api_key and cells.workspace = rates.workspace and cells.token_kind = rates.token_kind
    and cells.status in ('mispriced', 'unbilled') and (cells.status = 'unbilled') <> rates.is_confirmed;

delete from scope.reconciliation_built where item in (select item from scope.reconciliation_days);
insert into scope.reconciliation_built
select * from ({{ reconciliation_facts() }}) as now where item in (select item from scope.reconciliation_days)
{%- endmacro %}
