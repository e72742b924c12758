-- One row a response and file of batch_lines, and one for a file's lines without usage. The line that stands is found by
-- one number: its output, then its time, then (upwards and downwards) its place; where the two places differ, two lines
-- are equal in output and time, and the uuid decides. What the plain rules here cannot judge is marked odd: the whole file
-- is read again, alone, by claude_code.sql, which knows all rules.
create or replace temp table batch_groups as
with lines as (
    select
        file_index,
        is_usage,
        fields is null as is_malformed,
        if(is_usage, fields[9], null) as message_id,
        if(is_usage, coalesce(fields[10], ''), null) as request_id,
        coalesce(try_cast(fields[2] as bigint), 0) as output_tokens,
        if(fields[13] like '20__-__-__%', try_cast(fields[13] as timestamptz)::timestamp, null) as logged_at,
        coalesce(fields[14] = 'true', false) as is_sidechain,
        hash(fields[11], fields[15], fields[17], fields[18], fields[19]) as dimensions,
        -- at most 15 digits in each count of tokens
        regexp_full_match(
            concat_ws(',', fields[2], fields[3], fields[4], fields[5], fields[6], fields[7], fields[8]),
            '(([0-9]{1,15},)*[0-9]{1,15})?'
        ) as is_tidy,
        rowid as place,
        -- 52 bits for a time of this century in microseconds, 24 for the place
        (output_tokens::hugeint * 4503599627370496 + epoch_us(logged_at)) * 16777216 as precedence
    from batch_lines
),

groups as (
    select
        file_index,
        message_id,
        request_id,
        count(*) as lines,
        bool_or(is_usage) as is_usage,
        count(*) filter (where is_malformed) as malformed_lines,
        bool_and(is_tidy and logged_at is not null) as is_usable,
        bool_and(is_sidechain) as is_sidechain,
        min(logged_at) as requested_at,
        min(dimensions) = max(dimensions) as is_uniform,
        max(precedence + place) as kept_upwards,
        max(precedence + (16777215 - place)) as kept_downwards
    from lines
    group by file_index, message_id, request_id
)

select
    * exclude (kept_upwards, kept_downwards, is_uniform, is_usable),
    (kept_upwards % 16777216)::bigint as kept_place,
    is_uniform and kept_upwards % 16777216 + kept_downwards % 16777216 = 16777215 as is_plain,
    is_usage and not (is_usable and coalesce(message_id, '') <> '' and not contains(message_id, ':')) as is_odd
from groups
