-- Responses of the same traces as those in scope. Repeated until nothing is added.
insert or ignore into scope.responses
select distinct response_id
from raw.requests
where
    span <> ''
    and split_part(span, ':', 1) in (
        select split_part(span, ':', 1) from raw.requests
        where span <> '' and response_id in (select item from scope.responses)
    )
