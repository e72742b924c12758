-- Spans right above and right below those in scope. Repeated until nothing is added.
insert or ignore into scope.responses
with touched as (
    select
        span,
        parent_span
    from raw.requests
    where span <> '' and response_id in (select item from scope.responses)
)

select distinct response_id
from raw.requests
where
    (span <> '' and span in (select parent_span from touched))
    or (parent_span <> '' and parent_span in (select span from touched))
