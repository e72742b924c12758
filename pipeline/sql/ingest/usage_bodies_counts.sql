select
    count(*) as lines_read,
    count(*) filter (where kind = 'ignored') as lines_ignored,
    count(*) filter (where reason is not null) as lines_rejected,
    count(*) filter (where kind <> 'ignored' and reason is null) as usable_lines
from record_lines
