-- What readers of files share, in each connection anew: temporary macros leave nothing in the warehouse.

-- At most 15 digits, so that no sum over a whole history leaves the range of a BIGINT.
create or replace temp macro tokens_or_null(v) as
    case when regexp_full_match(v, '[0-9]{1,15}([.]0+)?') then split_part(v, '.', 1)::bigint end;
create or replace temp macro tokens_of(v, is_plain) as if(is_plain, try_cast(v as bigint), tokens_or_null(v));
create or replace temp macro tokens_problem(v) as
    case
        when v = '' then 'is empty, expected a whole number'
        when regexp_full_match(v, '-[0-9]+([.]0+)?') then 'is negative, expected a count'
        when regexp_full_match(v, '[0-9]{16,}([.]0+)?') then 'is greater than any count of tokens'
        when tokens_or_null(v) is null then 'is not a whole number'
    end;
-- DuckDB also casts 'epoch', 'infinity' and years BC; zero times of other systems (years 1 and 1970) are no times of usage.
create or replace temp macro utc_or_null(v) as
    case when regexp_matches(v, '^20[0-9]{2}-[0-9]{2}-[0-9]{2}([ T]|$$)') then try_cast(v as timestamptz)::timestamp end;
-- A time as text, or as seconds, milliseconds, microseconds or nanoseconds since 1970.
create or replace temp macro moment_or_null(v) as
    case
        when regexp_full_match(v, '[0-9]{10}([.][0-9]+)?') then make_timestamp((v::decimal(28, 6) * 1000000)::bigint)
        when regexp_full_match(v, '[0-9]{13}([.]0+)?') then make_timestamp(split_part(v, '.', 1)::bigint * 1000)
        when regexp_full_match(v, '[0-9]{16}') then make_timestamp(v::bigint)
        when regexp_full_match(v, '[0-9]{19}') then make_timestamp(v::bigint // 1000)
        else utc_or_null(v)
    end;
-- A provider as the rate card names it, whichever way a logger spells it.
create or replace temp macro provider_name(v) as
    case
        when lower(v) in ('gemini', 'google_genai', 'vertex_ai', 'gcp.gemini', 'gcp.vertex_ai', 'gcp.gen_ai') then 'google'
        when lower(v) in ('bedrock', 'aws.bedrock', 'aws_bedrock') then 'aws'
        when lower(v) in ('azure_openai', 'az.ai.openai', 'azure.ai.openai', 'azure.ai.inference') then 'azure'
        when lower(v) in ('xai', 'x_ai') then 'x-ai'
        else lower(v)
    end;
create or replace temp macro without_secret(v) as
    case
        when not contains(v, 'sk-') then v
        when regexp_matches(v, '(^|[^A-Za-z0-9])sk-[A-Za-z0-9_.-]{6,}') then 'key-' || left(sha256(v), 12)
        else v
    end;
create or replace temp macro context_window_name(v) as
    case
        when v in ('', 'not_available') then ''
        when v = '≤ 200k' then '0-200k'
        when regexp_matches(lower(v), '^(≤|<=)? *(0 *- *)?200k$$') then '0-200k'
        when regexp_matches(lower(v), '^(>|>=)? *200k( *- *1m)?$$') then '200k-1M'
        else v
    end;
