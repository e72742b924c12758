{{ config(materialized='scoped', scope_column='session_id', scope_of='sessions') }}

with records as (
    select * from {{ ref('int_usage') }}
    where source = 'sessions' and session_id <> '' and {{ in_scope('usage_date') }} and {{ in_scope('session_id', 'sessions') }}
),

session_records as (
    select * from {{ ref('int_session_records') }}
    where {{ in_scope('session_id', 'sessions') }}
),

model_tokens as (
    select
        session_id,
        model,
        sum(total_tokens) as total_tokens,
        min(usage_at) as first_used_at
    from records
    group by session_id, model
),

models as (
    select
        session_id,
        arg_max(model, (total_tokens, first_used_at, model)) as primary_model,
        list_sort(list(model)) as models
    from model_tokens
    group by session_id
),

records_by_session as (
    select
        session_id,
        -- labels come from the record with single requests
        arg_min(source_format, (if(record_kind = 'request', 0, 1), source_format)) as source_format,
        {% for dimension in ['user_id', 'provider', 'api_key', 'workspace', 'project'] -%}
        coalesce(arg_min({{ dimension }}, (usage_at, {{ dimension }})) filter (where {{ dimension }} <> ''), '')
            as {{ dimension }},
        {% endfor -%}
        max(context_window) as context_window,
        min(usage_at) as first_used_at,
        max(usage_at) as last_used_at,
        if(bool_or(request_count is null), null, sum(request_count))::bigint as request_count,
        {{ sum_kinds() }},
        sum(web_search_count)::bigint as web_search_count,
        sum(total_tokens)::bigint as total_tokens,
        sum(if(record_kind = 'session', total_tokens, 0))::bigint as session_level_tokens,
        if(bool_or(estimated_cost_usd is null), null, sum(estimated_cost_usd))::decimal(38, 12) as estimated_cost_usd,
        bool_or(cache_split_assumed) as cache_split_assumed,
        bool_or(record_kind = 'request') as has_requests,
        -- a session with some metered usage is metered
        min(billing_mode) as billing_mode
    from records
    group by session_id
),

stated_sessions as (
    select
        session_id,
        min(session_started_at) as session_started_at,
        max(last_updated_at) as last_updated_at,
        coalesce(min(conversation_id) filter (where conversation_id <> ''), '') as conversation_id,
        coalesce(min(tags) filter (where tags <> ''), '') as tags
    from session_records
    group by session_id
)

select
    ---------- ids
    records.session_id,
    coalesce(stated.conversation_id, '') as conversation_id,
    records.source_format,

    ---------- dimensions
    records.user_id,
    records.provider,
    records.api_key,
    records.workspace,
    records.project,
    coalesce(stated.tags, '') as tags,
    records.context_window,
    least(stated.session_started_at, records.first_used_at) as session_started_at,
    greatest(stated.last_updated_at, records.last_used_at) as last_updated_at,
    date_diff(
        'second',
        least(stated.session_started_at, records.first_used_at),
        greatest(stated.last_updated_at, records.last_used_at)
    ) as duration_seconds,
    models.primary_model,
    models.models,

    ---------- numerics
    records.request_count,
    {{ kind_columns('records') }},
    records.input_tokens_cache_write_5m + records.input_tokens_cache_write_1h as cache_creation_tokens,
    records.web_search_count,
    records.total_tokens,
    records.estimated_cost_usd,
    records.estimated_cost_usd::double / nullif(records.total_tokens, 0) as cost_per_token,
    (records.total_tokens - records.output_tokens)::double / nullif(records.output_tokens, 0) as input_output_ratio,
    records.cache_split_assumed,
    if(records.has_requests, records.session_level_tokens, 0) as rest_tokens,
    records.billing_mode
from records_by_session as records
inner join models on records.session_id = models.session_id
left join stated_sessions as stated on records.session_id = stated.session_id
order by session_started_at, session_id
