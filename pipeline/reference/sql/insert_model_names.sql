insert into raw.model_names by name
select name as model_version, model, provider, known as is_known, region
from names_arrow
