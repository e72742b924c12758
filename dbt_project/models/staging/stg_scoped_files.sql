{# The first rule of [reconciliation.scope] that matches each log file; files without a match are left out. #}
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
        -- `a/**/b` also matches `a/b`, and a folder matches everything in it
        replace(path_pattern, '**/', '') as shorter_pattern,
        rtrim(path_pattern, '/') || '/*' as folder_pattern
    from {{ source('raw', 'reconciliation_scope') }}
)

select
    files.file_sha256,
    min(rules.rule) as scope_rule,
    min_by(rules.api_key, rules.rule) as scope_api_key,
    min_by(rules.workspace, rules.rule) as scope_workspace
from files
inner join rules
    on
        files.format = rules.source_format
        or (
            rules.path_pattern <> ''
            and (
                {% for path in ['files.path', 'files.path_in_landing'] -%}
                {% for pattern in ['path_pattern', 'shorter_pattern', 'folder_pattern'] -%}
                {{ fits_glob(path, 'rules.' ~ pattern) }}{{ ' or ' if not loop.last }}
                {%- endfor -%}
                {{ ' or ' if not loop.last }}
                {%- endfor %}
            )
        )
group by files.file_sha256
