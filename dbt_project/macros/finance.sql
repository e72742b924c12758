{#
    `amount` in parts by `weight`, exactly: each part is the difference of two cumulative shares, so that the parts add up
    to the amount to the last decimal. Integers throughout (an integer division of hugeints is exact): picodollars times
    weights, which are whole numbers of zero or more and not all zero in a partition.
#}
{% macro part_of(amount, weight, partition, order) -%}
    {%- set units = '(' ~ amount ~ ' * 1000000000000)::hugeint' -%}
    {%- set upto = 'sum(' ~ weight ~ ') over (partition by ' ~ partition ~ ' order by ' ~ order ~ ')' -%}
    {%- set total = 'sum(' ~ weight ~ ') over (partition by ' ~ partition ~ ')' -%}
    cast(
        cast(({{ units }} * {{ upto }}) // {{ total }} - ({{ units }} * ({{ upto }} - {{ weight }})) // {{ total }} as decimal(38, 0))
        * 0.000000000001 as decimal(38, 12)
    )
{%- endmacro %}

{# Money as a whole number of nanodollars, to weigh by. #}
{% macro nanodollars(amount) -%}
    ({{ amount }} * 1000000000)::hugeint
{%- endmacro %}

{# Days that some cost export or page of a provider covers. (The formats are named plainly: no unit test has to give them.) #}
{% macro billed_days() -%}
    select distinct
        account_formats.provider,
        unnest(generate_series(first_usage_date::timestamp, last_usage_date::timestamp, interval 1 day))::date as usage_date
    from {{ source('ingest', 'files') }}
    inner join raw.account_formats using (format)
    where side = 'billed' and status = 'loaded' and rows_loaded > 0 and first_usage_date is not null
{%- endmacro %}
