-- Rows of the application's table token_usage_sessions; its input_tokens exclude cached tokens.
with cells as (
    select
        ${cells},
        ${values} as cells
    from ${relation}
),

typed as (
    select
        *,
        utc_or_null(session_started_at) as started_at,
        utc_or_null(last_updated_at) as updated_at,
        if(cache_read_tokens = '', '0', cache_read_tokens) as cache_read,
        if(cache_creation_tokens = '', '0', cache_creation_tokens) as cache_creation,
        if(cache_creation_5m_tokens = '', '0', cache_creation_5m_tokens) as cache_creation_5m,
        if(cache_creation_1h_tokens = '', '0', cache_creation_1h_tokens) as cache_creation_1h,
        if(web_search_count = '', '0', web_search_count) as web_searches
    from cells
),

checked as (
    select
        *,
        list_filter([
            {column_name: 'session_id', value: session_id, reason: case when session_id = '' then 'is empty' end},
            {column_name: 'model', value: model, reason: case when model = '' then 'is empty' end},
            {
                column_name: 'session_started_at', value: session_started_at,
                reason: case when started_at is null then if(utc_of(session_started_at) is null, 'is not a time', time_problem(session_started_at)) end
            },
            {
                column_name: 'last_updated_at', value: last_updated_at,
                reason: case
                    when updated_at is null then if(utc_of(last_updated_at) is null, 'is not a time', time_problem(last_updated_at))
                    when updated_at < started_at then 'is before session_started_at'
                end
            },
            {column_name: 'input_tokens', value: input_tokens, reason: tokens_problem(input_tokens)},
            {column_name: 'output_tokens', value: output_tokens, reason: tokens_problem(output_tokens)},
            {column_name: 'cache_read_tokens', value: cache_read, reason: tokens_problem(cache_read)},
            {column_name: 'cache_creation_tokens', value: cache_creation, reason: tokens_problem(cache_creation)},
            {
                column_name: 'cache_creation_5m_tokens', value: cache_creation_5m,
                reason: tokens_problem(cache_creation_5m)
            },
            {
                column_name: 'cache_creation_1h_tokens', value: cache_creation_1h,
                reason: tokens_problem(cache_creation_1h)
            },
            {column_name: 'web_search_count', value: web_searches, reason: tokens_problem(web_searches)}
        ], lambda found: found.reason is not null) [1] as found
    from typed
),

-- cache_creation_tokens beyond the two stated kinds count as 5-minute writes, and the row is flagged.
split as (
    select
        *,
        greatest(
            tokens_or_null(cache_creation) - tokens_or_null(cache_creation_5m) - tokens_or_null(cache_creation_1h), 0
        ) as unsplit_writes
    from checked
)

select
    ${file_sha256} as file_sha256,
    session_id,
    conversation_id,
    user_id,
    provider_name(provider) as provider,
    if(api_key = '' and ${states_api_key}, '(workbench)', api_key) as api_key,
    if(lower(workspace) in ('', 'default') and ${states_workspace}, 'Default', workspace) as workspace,
    project,
    tags,
    context_window_name(context_window) as context_window,
    started_at as session_started_at,
    updated_at as last_updated_at,
    model as model_version,
    tokens_or_null(input_tokens) as input_tokens_no_cache,
    tokens_or_null(cache_creation_5m) + unsplit_writes as input_tokens_cache_write_5m,
    tokens_or_null(cache_creation_1h) as input_tokens_cache_write_1h,
    tokens_or_null(cache_read) as input_tokens_cache_read,
    tokens_or_null(output_tokens) as output_tokens,
    tokens_or_null(web_searches) as web_search_count,
    tokens_or_null(request_count) as request_count,
    unsplit_writes > 0 as cache_split_assumed,
    case
        when found is not null
            then {
                reason: found.column_name || ' ' || found.reason,
                column_name: found.column_name,
                value: without_secret(found.value)
            }
    end as problem,
    case when found is not null then cells end as cells
from split
