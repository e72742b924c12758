-- Responses of traces for which these files have spans without usage: their parents may have changed.
insert or ignore into scope.responses
select distinct response_id
from raw.requests
where
    span <> ''
    and split_part(span, ':', 1) in (
        select split_part(span, ':', 1) from raw.span_links
        where file_sha256 in (select unnest($$1::varchar[]))
    )
