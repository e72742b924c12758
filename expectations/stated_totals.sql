-- One row per format: its requests that state a total, and those with another total in the stored tokens.
select
    source_format,
    count(*) as rows_checked,
    count(*) filter (total_tokens <> stated_total_tokens) as requests_off,
    sum(total_tokens)::bigint as stored_tokens,
    sum(stated_total_tokens)::bigint as stated_tokens,
    sum(abs(total_tokens - stated_total_tokens))::bigint as tokens_at_stake
from marts.requests
where stated_total_tokens is not null
group by all
order by all
