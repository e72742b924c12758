-- Rows of an Anthropic Console usage export; usage_date_utc is a day, an hour or a minute.
with cells as (
    select
        ${cells},
        ${values} as cells
    from ${relation}
),

typed as (
    select
        *,
        utc_or_null(usage_date_utc) as usage_at,
        length(usage_date_utc) = 10 as is_day,
        case when ${one_write_column} then usage_input_tokens_cache_write else usage_input_tokens_cache_write_5m end
            as cache_write_5m,
        case when ${one_write_column} then '0' else usage_input_tokens_cache_write_1h end as cache_write_1h,
        if(web_search_count = '', '0', web_search_count) as web_searches
    from cells
),

-- Nearly every row is plain: one check of all of its counts replaces the search for a problem in each. (Nine digits are
-- below any possible limit.)
with_plainness as (
    select
        *,
        regexp_full_match(
            concat_ws(
                ',', usage_input_tokens_no_cache, cache_write_5m, cache_write_1h, usage_input_tokens_cache_read,
                usage_output_tokens, web_searches
            ),
            '([0-9]{1,9},){5}[0-9]{1,9}'
        ) as is_plain
    from typed
),

checked as (
    select
        *,
        case when not (is_plain and usage_at is not null and model_version <> '') then list_filter([
            {
                column_name: 'usage_date_utc', value: usage_date_utc,
                reason: case when usage_at is null then if(utc_of(usage_date_utc) is null, 'is not a date', time_problem(usage_date_utc)) end
            },
            {
                column_name: 'model_version', value: model_version,
                reason: case when model_version = '' then 'is empty' end
            }
        ] || with_problems([
            {column_name: 'usage_input_tokens_no_cache', value: usage_input_tokens_no_cache},
            {column_name: '${write_5m_name}', value: cache_write_5m},
            {column_name: 'usage_input_tokens_cache_write_1h', value: cache_write_1h},
            {column_name: 'usage_input_tokens_cache_read', value: usage_input_tokens_cache_read},
            {column_name: 'usage_output_tokens', value: usage_output_tokens},
            {column_name: 'web_search_count', value: web_searches}
        ]), lambda found: found.reason is not null) [1] end as found
    from with_plainness
),

-- All rows of a file have one grain: minutes, if any row is not at a full hour. (A scan of one column up to the first
-- such row; a window function would hold the whole file in memory.)
with_grain as (
    select
        *,
        exists(
            select 1
            from ${relation}
            where
                length(trim(usage_date_utc)) <> 10
                and usage_date_utc not like '____-__-__ __:00'
                and minute(utc_or_null(trim(usage_date_utc))) <> 0
        ) as has_minutes
    from checked
)

select
    ${file_sha256} as file_sha256,
    date_trunc('minute', usage_at) as usage_start,
    case when is_day then 86400 when has_minutes then 60 else 3600 end as bucket_seconds,
    model_version,
    if(api_key = '', '(workbench)', api_key) as api_key,
    if(lower(workspace) in ('', 'default'), 'Default', workspace) as workspace,
    lower(usage_type) as usage_type,
    context_window_name(context_window) as context_window,
    if(inference_geo = 'not_available', '', inference_geo) as inference_geo,
    speed,
    ${states_context_window} as states_context_window,
    ${states_geo_speed} as states_geo_speed,
    ${stated} as stated,
    tokens_of(usage_input_tokens_no_cache, is_plain) as input_tokens_no_cache,
    tokens_of(cache_write_5m, is_plain) as input_tokens_cache_write_5m,
    tokens_of(cache_write_1h, is_plain) as input_tokens_cache_write_1h,
    tokens_of(usage_input_tokens_cache_read, is_plain) as input_tokens_cache_read,
    tokens_of(usage_output_tokens, is_plain) as output_tokens,
    tokens_of(web_searches, is_plain) as web_search_count,
    ${one_write_column} as cache_split_assumed,
    case
        when found is not null
            then {
                reason: found.column_name || ' ' || found.reason,
                column_name: found.column_name,
                value: without_secret(found.value)
            }
    end as problem,
    case when found is not null then cells end as cells
from with_grain
