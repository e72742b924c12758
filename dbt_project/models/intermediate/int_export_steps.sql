{{ config(materialized='scoped', scope_column='usage_date', scope_of='days') }}

{#
    The order in which overlapping exports of a day are compared. A level is a grain with the dimensions of its
    exports. Levels go from the finest to the coarsest. Each is compared with the finer levels before it: first with
    those that state all of its dimensions, then with those that lack the fewest, one step per set of missing
    dimensions. A day with one level has no step.
#}
with console_levels as (
    select distinct
        'console' as side,
        provider,
        channel,
        usage_start::date as usage_date,
        bucket_seconds,
        {{ stated_dimensions('usage') }} as stated
    from {{ source('raw', 'console_usage') }} as usage
    where {{ in_days('usage_start') }}
),

billed_levels as (
    select distinct
        'billed' as side,
        provider,
        channel,
        usage_date,
        86400 as bucket_seconds,
        {{ stated_cost_dimensions() }} as stated
    from {{ source('raw', 'console_costs') }}
    where {{ in_scope('usage_date') }}
),

levels as (
    select * from console_levels
    union all
    select * from billed_levels
),

-- Of bills with equally many dimensions, the one with models and kinds is first, because it is compared with usage.
ordered as (
    select
        *,
        row_number() over (
            partition by side, provider, channel, usage_date
            order by
                bucket_seconds, {{ number_of_dimensions('stated') }} desc,
                case when {{ has_dimension('stated', 'kind') }} then 0 else 1 end, stated
        ) as place
    from levels
),

pairs as (
    select
        coarser.side,
        coarser.provider,
        coarser.channel,
        coarser.usage_date,
        coarser.place,
        coarser.bucket_seconds,
        coarser.stated,
        finer.bucket_seconds as finer_bucket_seconds,
        finer.stated as finer_stated,
        {% for name, is_stated in [('compared_dimensions', ''), ('absent_dimensions', 'not ')] -%}
        concat_ws(
            ','
            {%- for dimension in (console_dimensions().keys() | list + cost_dimensions().keys() | list) | unique | sort -%}
            ,
            case
                when {{ has_dimension('coarser.stated', dimension) }} and {{ is_stated }}{{ has_dimension('finer.stated', dimension) }}
                    then '{{ dimension }}'
            end
            {%- endfor %}
        ) as {{ name }}{{ ',' if not loop.last }}
        {% endfor %}
    from ordered as coarser
    inner join ordered as finer
        on
            coarser.side = finer.side
            and coarser.provider = finer.provider
            and coarser.channel = finer.channel
            and coarser.usage_date = finer.usage_date
            and coarser.place > finer.place
),

numbered as (
    select
        *,
        dense_rank() over (
            partition by side, provider, channel, usage_date
            order by place, {{ number_of_dimensions('absent_dimensions') }}, absent_dimensions
        ) as step
    from pairs
),

coarser_levels as (
    select distinct
        side,
        provider,
        channel,
        usage_date,
        step,
        false as is_finer,
        bucket_seconds,
        stated,
        bucket_seconds as compared_seconds,
        compared_dimensions
    from numbered
),

finer_levels as (
    select
        side,
        provider,
        channel,
        usage_date,
        step,
        true as is_finer,
        finer_bucket_seconds as bucket_seconds,
        finer_stated as stated,
        bucket_seconds as compared_seconds,
        compared_dimensions
    from numbered
)

select * from coarser_levels
union all
select * from finer_levels
