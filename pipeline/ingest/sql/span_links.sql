-- Spans without usage that have a parent.
insert into raw.span_links
select distinct
    ${file_sha256} as file_sha256,
    span,
    parent_span
from call_records
where kind = 'ignored' and span <> '' and parent_span <> '' and span <> parent_span
