-- PostgreSQL: rows of token_usage_sessions as text, which no odd value can break: what is no number or time is for the
-- quarantine. The stamp is in microseconds since 1970, at most now (a clock that is ahead must not move the mark beyond
-- what others still write), null for no time; the hash tells whether the same row has been landed before.
select
    ${columns},
    case
        when isfinite(least(last_updated_at, ${now})) then (extract(epoch from least(last_updated_at, ${now})) * 1000000)::bigint
    end as stamp_us,
    substring(sha256(convert_to(row(${values})::text, 'UTF8')) from 1 for 16) as row_hash
from ${table}
where ${condition}
order by last_updated_at
