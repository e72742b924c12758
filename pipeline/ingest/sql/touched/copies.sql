-- Originals of copies in scope, and their other copies. Repeated until nothing is added.
insert or ignore into scope.responses
select distinct response_id
from raw.requests
where
    copy_key in (
        select copy_key
        from raw.requests
        where copy_key <> '' and response_id in (select item from scope.responses)
    )
