-- Lines of a file as JSON, repaired if possible. CTEs of usage_bodies.sql and calls.sql.
lines as (
    select
        line,
        ${document} as text,
        json_valid(text) as is_json
    from ${relation}
    where line is not null and trim(line) <> ''
),

-- JavaScript writes half surrogate pairs if text was cut within an emoji; DuckDB's parser rejects them.
readable as (
    select
        line,
        if(is_json, text, regexp_replace(text, '\\u[dD][89a-fA-F][0-9a-fA-F]{2}', '\\ufffd', 'g')) as document,
        is_json
    from lines
)
