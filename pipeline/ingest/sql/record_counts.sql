select
    count(*) as records_read,
    count(*) filter (where kind = 'ignored') as records_ignored,
    count(*) filter (where reason is not null) as records_rejected,
    count(*) filter (where kind <> 'ignored' and reason is null) as usable_records
from ${records}
