insert into raw.model_names
select name as model_version, model, provider, known as is_known
from names_arrow
