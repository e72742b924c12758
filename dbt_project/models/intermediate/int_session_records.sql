{{ config(materialized='scoped', scope_column='session_id', scope_of='sessions') }}

{#
    The state in force of each session of token_usage_sessions, and the part of it that is not in request-level records.

    The latest last_updated_at wins, then the greater total, then the row's content. A session with request-level records
    counts by these; if they hold less than 99% of its tokens, the difference stays as one session-level rest.
#}
with sessions as (
    select * from {{ ref('stg_usage_sessions') }}
    where {{ in_scope('session_id', 'sessions') }}
),

requests as (
    select
        session_id,
        coalesce(provider, '') as provider,
        {{ sum_kinds() }},
        sum(web_search_count)::bigint as web_search_count,
        sum(total_tokens)::bigint as total_tokens
    from {{ ref('int_requests') }}
    where session_id <> '' and {{ in_scope('session_id', 'sessions') }}
    -- provider '': all requests of a session, to compare with a session row without provider
    group by grouping sets ((session_id, provider), (session_id))
    having grouping(provider) = 1 or provider <> ''
),

ranked as (
    select
        *,
        row_number() over (
            partition by provider, session_id
            order by
                last_updated_at desc, total_tokens desc, session_started_at, model_version, user_id, api_key, workspace,
                {{ kind_columns() }}, file_sha256
        ) as precedence
    from sessions
),

in_force as (
    select {{ star_except(['precedence', 'file_sha256']) }}
    from ranked
    where precedence = 1
),

compared as (
    select
        in_force.*,
        requests.session_id is not null as has_requests,
        coalesce(requests.total_tokens, 0) as request_tokens,
        coalesce(requests.web_search_count, 0) as request_web_searches,
        -- below 99% there is a rest; smaller differences are noise
        requests.session_id is not null and requests.total_tokens * 100 >= in_force.total_tokens * 99 as is_covered,
        {% for kind in kinds() -%}
        greatest(in_force.{{ kind }} - coalesce(requests.{{ kind }}, 0), 0) as beyond_{{ kind }},
        {% endfor -%}
        greatest(in_force.total_tokens - coalesce(requests.total_tokens, 0), 0) as beyond_total
    from in_force
    left join requests using (session_id, provider)
),

-- The rest is the difference of the totals. It is distributed over the kinds in order, so that a kind with more request
-- tokens than session tokens does not increase the session's total.
filled as (
    select
        *,
        beyond_input_tokens_no_cache as filled_1,
        beyond_input_tokens_no_cache + beyond_input_tokens_cache_write_5m as filled_2,
        beyond_input_tokens_no_cache + beyond_input_tokens_cache_write_5m + beyond_input_tokens_cache_write_1h as filled_3,
        beyond_input_tokens_no_cache + beyond_input_tokens_cache_write_5m + beyond_input_tokens_cache_write_1h
        + beyond_input_tokens_cache_read as filled_4,
        beyond_input_tokens_no_cache + beyond_input_tokens_cache_write_5m + beyond_input_tokens_cache_write_1h
        + beyond_input_tokens_cache_read + beyond_output_tokens as filled_5
    from compared
)

{% set steps = ['beyond_total', 'filled_1', 'filled_2', 'filled_3', 'filled_4', 'filled_5', 'request_web_searches'] -%}
{%- for kind in kinds() %}{% do steps.append('beyond_' ~ kind) %}{% endfor -%}
select
    {{ star_except(steps) }},
    {% for kind in kinds() -%}
    if(
        is_covered, 0,
        greatest(least(beyond_{{ kind }}, beyond_total - (filled_{{ loop.index }} - beyond_{{ kind }})), 0)
    )::bigint as rest_{{ kind }},
    {% endfor -%}
    if(is_covered, 0, greatest(web_search_count - request_web_searches, 0))::bigint as rest_web_search_count
from filled
