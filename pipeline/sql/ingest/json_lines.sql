create or replace temp table json_lines as
select
    md5(line) as line_md5,
    coalesce(json_valid(line) and json_type(line) = 'OBJECT', false) as is_valid,
    if(json_valid(line), json_extract_string(line, [${paths}]), null) as fields,
    contains(line, '"api_key"') as states_api_key,
    contains(line, '"workspace"') as states_workspace
from ${lines}
