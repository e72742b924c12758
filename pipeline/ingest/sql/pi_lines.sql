-- The lines of a Pi session in the order of the file; lines with usage but no model get the current model.
create or replace temp table pi_lines as
with ${readable_lines},

extracted as (
    select
        line,
        document,
        row_number() over () as place,
        case when json_valid(document) then names_at(document, [
            '$$.message.provider', '$$.message.model', '$$.provider', '$$.modelId', '$$.model',
            '$$.message.usage.output', '$$.usage.output'
        ]) end as fields
    from readable
),

stated as (
    select
        line,
        document,
        place,
        coalesce(fields[1], fields[3]) as provider,
        coalesce(fields[2], fields[4], fields[5]) as model,
        coalesce(fields[6], fields[7]) is not null as has_usage
    from extracted
),

in_force as (
    select
        *,
        last_value(provider ignore nulls) over so_far as provider_in_force,
        last_value(model ignore nulls) over so_far as model_in_force
    from stated
    window so_far as (order by place rows between unbounded preceding and current row)
)

select
    line,
    if(
        has_usage and model is null,
        json_merge_patch(document::json, to_json({in_force: {provider: provider_in_force, model: model_in_force}}))::varchar,
        document
    ) as document
from in_force
