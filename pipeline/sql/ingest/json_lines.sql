create or replace temp table json_lines as
select
    md5(line) as line_md5,
    -- CASE, since AND does not promise to leave the second test out for a line that is no JSON
    case when json_valid(line) then json_type(line) = 'OBJECT' else false end as is_valid,
    case when json_valid(line) then json_extract_string(line, [${paths}]) end as fields,
    contains(line, '"api_key"') as states_api_key,
    contains(line, '"workspace"') as states_workspace
from ${lines}
