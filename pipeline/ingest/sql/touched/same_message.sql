-- Responses that may be the same call as one in scope: lines with the same message id, with and without a request id.
insert or ignore into scope.responses
select unnamed.response_id
from raw.requests as unnamed
where unnamed.message_id <> '' and unnamed.message_id in (select item from scope.responses)
union
select unnamed.message_id
from raw.requests as unnamed
inner join raw.requests as named on unnamed.message_id = named.response_id
where unnamed.message_id <> '' and unnamed.response_id in (select item from scope.responses)
