select coalesce(bool_or(states_api_key), false), coalesce(bool_or(states_workspace), false)
from json_lines
