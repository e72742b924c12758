{#
    `amount` in parts by `weight`, exactly: each part is the difference of two cumulative shares, so that the parts add up
    to the amount to the last decimal. Integers throughout (an integer division of hugeints is exact): picodollars times
    weights, which are whole numbers of zero or more and not all zero in a partition. The whole of units / total is taken
    out first, so that no product is greater than the square of the total (see `weights`).
#}
{% macro part_of(amount, weight, partition, order) -%}
    {%- set units = picodollars(amount) -%}
    {%- set upto = 'sum(' ~ weight ~ ') over (partition by ' ~ partition ~ ' order by ' ~ order ~ ')' -%}
    {%- set total = 'sum(' ~ weight ~ ') over (partition by ' ~ partition ~ ')' -%}
    {%- set whole = '(' ~ units ~ ' // ' ~ total ~ ')' -%}
    {%- set rest = '(' ~ units ~ ' - ' ~ whole ~ ' * ' ~ total ~ ')' -%}
    {{ dollars(
        whole ~ ' * ' ~ weight ~ ' + (' ~ rest ~ ' * ' ~ upto ~ ') // ' ~ total
        ~ ' - (' ~ rest ~ ' * (' ~ upto ~ ' - ' ~ weight ~ ')) // ' ~ total
    ) }}
{%- endmacro %}

{# Money as a whole number of picodollars, and back; apart for dollars and their fraction, so that no great amount overflows. #}
{% macro picodollars(amount) -%}
    (trunc({{ amount }})::hugeint * 1000000000000 + (({{ amount }} - trunc({{ amount }})) * 1000000000000)::hugeint)
{%- endmacro %}

{% macro dollars(units) -%}
    cast(
        cast(({{ units }}) // 1000000000000 as decimal(38, 12))
        + cast(({{ units }}) % 1000000000000 as decimal(38, 0)) * 0.000000000001 as decimal(38, 12)
    )
{%- endmacro %}

{#
    What to weigh by, so that the weights of a partition add up to less than 2 * 10^18 and their square is a hugeint: money of
    up to a thousand million dollars in nanodollars, more in a coarser unit.
#}
{% macro weights(amount, partition) -%}
    {{ nanodollars(amount) }} // greatest(1, sum({{ nanodollars(amount) }}) over (partition by {{ partition }}) // 1000000000000000000)
{%- endmacro %}

{# Money as a whole number of nanodollars, to weigh by. #}
{% macro nanodollars(amount) -%}
    ({{ picodollars(amount) }} // 1000)
{%- endmacro %}

{# Days that some cost export or page of a provider covers. (The formats are named plainly: no unit test has to give them.) #}
{% macro billed_days() -%}
    select distinct
        account_formats.provider,
        {{ each_day('first_usage_date', 'last_usage_date') }} as usage_date
    from {{ source('ingest', 'files') }}
    inner join raw.account_formats using (format)
    where side = 'billed' and status = 'loaded' and rows_loaded > 0 and first_usage_date is not null
{%- endmacro %}
