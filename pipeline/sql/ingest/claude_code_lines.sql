-- The lines of one transcript to which the format's repeat rule applies.
select
    ${file_sha256} as file_sha256,
    *
from record_lines
where kind = 'usage' and reason is null
