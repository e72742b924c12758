{#
    Splits `amount` by `weight`. Each part is the difference of two cumulative shares, so the parts add up exactly
    to the amount. All arithmetic is in integers (picodollars times weights), because the division of hugeints is
    exact. Weights are integers of at least 0, and not all 0 in a partition. The whole part of units / total is
    split off first, so that no product exceeds the square of the total (see `weights`).
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

{#
    Money as an integer of picodollars, and back. Dollars and fractions are converted separately, so that large
    amounts do not overflow.
#}
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
    Weights that add up to less than 2 * 10^18 in a partition, so that their square fits in a hugeint: nanodollars
    for sums up to a billion dollars, else a coarser unit.
#}
{% macro weights(amount, partition) -%}
    {{ nanodollars(amount) }} // greatest(1, sum({{ nanodollars(amount) }}) over (partition by {{ partition }}) // 1000000000000000000)
{%- endmacro %}

{# Money as an integer of nanodollars, for weights. #}
{% macro nanodollars(amount) -%}
    ({{ picodollars(amount) }} // 1000)
{%- endmacro %}

{#
    Days covered by a cost export or page of a provider. (raw.account_formats is not a source(), so unit tests need
    not provide it.)
#}
{% macro billed_days() -%}
    select distinct
        account_formats.provider,
        {{ each_day('first_usage_date', 'last_usage_date') }} as usage_date
    from {{ source('ingest', 'files') }}
    inner join raw.account_formats using (format)
    where side = 'billed' and status = 'loaded' and rows_loaded > 0 and first_usage_date is not null
{%- endmacro %}

{#
    The line of allocation.csv that applies to each day, key, workspace, user and project of `usage`; without those
    that no line matches. The line with the most filled cells counts, then the latest valid_from, then the last in the
    file. Matching distinct cells keeps this cheap: many rows of a day share them.
#}
{% macro allocation_of(usage) -%}
    {%- set cells = ['usage_date', 'api_key', 'workspace', 'user_id', 'project'] -%}
    select {{ cells | join(', ') }}, line, team, cost_centre, product, environment
    from (
        select
            cells.*,
            lines.line,
            lines.team,
            lines.cost_centre,
            lines.product,
            lines.environment,
            row_number() over (
                partition by cells.{{ cells | join(', cells.') }}
                order by
                    (lines.api_key is not null)::integer + (lines.workspace is not null)::integer
                    + (lines.user_id is not null)::integer + (lines.project is not null)::integer desc,
                    lines.valid_from desc,
                    lines.line desc
            ) as precedence
        from (select distinct {{ cells | join(', ') }} from {{ usage }}) as cells
        inner join (
            select
                {{ star_except(['user_id']) }},
                if(user_id is null, null, {{ configured_user_id('user_id') }}) as user_id
            from {{ source('raw', 'allocation') }}
        ) as lines
            on
                (lines.api_key is null or cells.api_key = lines.api_key)
                and (lines.workspace is null or cells.workspace = lines.workspace)
                and (lines.user_id is null or (lines.user_id <> '' and cells.user_id = lines.user_id))
                and (lines.project is null or cells.project = lines.project)
                and cells.usage_date >= lines.valid_from
    )
    where precedence = 1
{%- endmacro %}
