-- Rows of token_usage_sessions, one JSON object per line.
create or replace temp table json_lines as
with ${readable_lines}

select
    md5(line) as line_md5,
    -- CASE, because AND may evaluate the second condition for a line that is not JSON
    case when json_valid(document) then json_type(document) = 'OBJECT' else false end as is_valid,
    case when json_valid(document) then json_extract_string(document, [${paths}]) end as fields,
    case when json_valid(document) then names_of(document, [${paths}], fields) end as names,
    contains(line, '"api_key"') as states_api_key,
    contains(line, '"workspace"') as states_workspace
from readable
