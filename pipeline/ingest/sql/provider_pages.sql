-- The buckets of a file of API pages, and their results. One statement per table.
create or replace temp table page_buckets as
with objects as (
    select
        row_number() over () as number,
        json
    from ${relation}
    where not coalesce(json_exists(json, ${header}), false)
),

pages as (
    select
        number,
        coalesce(json_type(json, '$$.data') = 'ARRAY', false) as is_page,
        if(is_page, json_extract(json, '$$.data[*]'), [null])::json[] as buckets
    from objects
),

opened as (
    select
        number,
        is_page,
        generate_subscripts(buckets, 1) as bucket_number,
        unnest(buckets) as bucket
    from pages
)

select
    number,
    bucket_number,
    coalesce(json_extract_string(bucket, '$$.starting_at'), json_extract_string(bucket, '$$.start_time')) as starts,
    coalesce(json_extract_string(bucket, '$$.ending_at'), json_extract_string(bucket, '$$.end_time')) as ends,
    case
        when not is_page then 'not a page of usage or costs'
        when coalesce(json_type(bucket, '$$.results') <> 'ARRAY', true) then 'a bucket without a list of results'
    end as misshapen,
    if(misshapen is null, json_extract(bucket, '$$.results[*]'), [null])::json[] as results
from opened;

create or replace temp table page_results as
with opened as (
    select
        number,
        bucket_number,
        starts,
        ends,
        misshapen,
        generate_subscripts(results, 1) as result_number,
        unnest(results) as result
    from page_buckets
)

select
    row_number() over (order by number, bucket_number, result_number) as place,
    starts,
    ends,
    result,
    coalesce(misshapen, if(json_type(result) <> 'OBJECT', 'a result that is no object', null)) as misshapen
from opened
