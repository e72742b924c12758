{# The first rule of [reconciliation.scope] that fits each file of logs; files that none fits are left out. #}
with files as (
    select
        file_sha256,
        format,
        path,
        regexp_replace(path, '^landing/', '') as path_in_landing
    from {{ source('ingest', 'files') }}
),

rules as (
    select
        *,
        -- `a/**/b` also names `a/b`, and a folder names all that lies in it
        [
            path_pattern, replace(path_pattern, '**/', ''), rtrim(path_pattern, '/') || '/*'
        ] as patterns
    from {{ source('raw', 'reconciliation_scope') }}
)

select
    files.file_sha256,
    min(rules.rule) as scope_rule,
    arg_min(rules.api_key, rules.rule) as scope_api_key,
    arg_min(rules.workspace, rules.rule) as scope_workspace
from files
inner join rules
    on
        files.format = rules.source_format
        or (
            rules.path_pattern <> ''
            and len(list_filter(rules.patterns, lambda p: files.path glob p or files.path_in_landing glob p)) > 0
        )
group by files.file_sha256
