{{ config(materialized='scoped', scope_column='response_id', scope_of='responses') }}

{#
    Each request once, however many files repeat it and whichever loggers recorded it.

    Repeats: the line with the greatest output counts, then the latest, then the greatest id. A sidechain line is a repeat if
    its response is also on a main line: of the main line with its own key, else of the earliest one. The owner is the
    session with the earliest line, then the smallest id.

    Copies: a record that is, or may be, copied from another session is the call of the original with the same copy_key, and
    takes its line and session. Copies without an original here are one call. Two originals are never one call, however
    similar.

    Lines with a message id but no request id: a message id identifies a response only together with its input, because some
    gateways use one id for all responses. Lines of one session and lane that are at most ten minutes apart are one call,
    unless one of them begins anew. Lines of several sessions are one call (copies) if they share a time or the line's own
    id, or, with the provider's ids, their output. If another line with the same id and input has a request id, they are
    that call.

    Several loggers: a call counts by the first of tracker, transcript, gateway and span; session, user, project, key and
    workspace that it does not state come from the others. Records with the same response id (the provider's) are one call.
    Records without a common id are matched one to one in time order, if model and all five kinds are equal and the times
    are at most five seconds apart.
#}
{%- set levels = {2: 'transcript', 3: 'gateway', 4: 'span'} -%}
{%- set labels = ['session_id', 'project', 'user_id', 'api_key', 'workspace'] -%}
{%- set compares = several_loggers() -%}
{%- set copies = has_copies() -%}
{%- set is_providers = "starts_with(message_id, 'msg_') and length(split_part(message_id, '#', 1)) >= 24" -%}
{#- With an id that is not the provider's, another request id is another call. -#}
{%- set is_own_request = "request_key <> response_id and not (" ~ is_providers | replace('message_id', 'response_id') ~ ")" -%}
{%- set bonds = [
    'requested_at', 'kept_at', 'line_id', 'session_id, lane, turn',
    'if(' ~ is_providers ~ ', output_tokens::varchar, request_key)'
] * 2 -%}

with recursive landed as (
    select
        *,
        {{ logger_rank() }} as logger_rank,
        hash(
            input_tokens_no_cache, input_tokens_cache_write_5m + input_tokens_cache_write_1h, input_tokens_cache_read
        ) as input_hash,
        input_tokens_no_cache + input_tokens_cache_write_5m + input_tokens_cache_write_1h + input_tokens_cache_read
            as input_tokens
    from {{ ref('stg_requests') }}
    where {{ in_scope('response_id', 'responses') }}
),

{% if has_spans() -%}
spans as (
    select
        span,
        max(parent_span) as parent_span,
        max(input_tokens) as input_tokens,
        max(output_tokens) as output_tokens
    from landed
    where span <> ''
    group by span
),

-- The next span with usage above each span; spans without usage can be in between, in any file. (raw.span_links is not
-- a source(), so unit tests need not provide it.)
above as (
    select
        span as child,
        parent_span as ancestor
    from spans
    where parent_span <> ''
    union
    select
        above.child,
        links.parent_span as ancestor
    from above
    inner join raw.span_links as links on above.ancestor = links.span
    where above.ancestor not in (select span from spans)
),

-- A span with the summed usage of the spans directly below it repeats their calls.
sums as (
    select parents.span
    from spans as parents
    inner join above on parents.span = above.ancestor
    inner join spans as children on above.child = children.span
    group by parents.span, parents.input_tokens, parents.output_tokens
    having
        sum(children.input_tokens) = parents.input_tokens
        and sum(children.output_tokens) = parents.output_tokens
        and parents.input_tokens + parents.output_tokens > 0
),

recorded as (
    select * from landed
    where coalesce(span, '') not in (select span from sums)
),

{% else -%}
recorded as (
    select * from landed
),

{% endif -%}
-- A response has one input. Lines with equal message and request ids but different inputs have constant ids of a
-- gateway.
of_gateways as (
    select
        request_key,
        min(input_hash) as input_hash
    from recorded
    where source_format = 'claude_code' and coalesce(message_id, '') = '' and input_tokens > 0
    group by request_key
    having min(input_hash) <> max(input_hash)
),

distinct_calls as (
    select
        {{ star_except(['request_key', 'input_tokens'], 'recorded') }},
        if(
            of_gateways.request_key is null,
            recorded.request_key,
            recorded.request_key || '~'
            || if(recorded.input_tokens = 0, of_gateways.input_hash, recorded.input_hash)
        ) as request_key
    from recorded
    left join of_gateways using (request_key)
),

{% if has_unnamed_calls() -%}
named as (
    select
        *,
        {{ is_own_request }} as is_own_turn
    from distinct_calls
    where coalesce(message_id, '') = ''
),

-- Lines with a message id but no request id.
unnamed as (
    select
        *,
        input_tokens_no_cache + input_tokens_cache_write_5m + input_tokens_cache_write_1h + input_tokens_cache_read = 0
        or begins_anew
        or coalesce(
            requested_at - interval 10 minute > max(kept_at) over (
                partition by response_id, session_id, lane order by requested_at, kept_at, request_key
                rows between unbounded preceding and 1 preceding
            ), true
        ) as opens
    from distinct_calls
    where message_id <> ''
),

turns_0 as (
    select
        *,
        coalesce(nullif(kept_id, ''), request_key) as line_id,
        count(*) filter (where opens) over (
            partition by response_id, session_id, lane order by requested_at, kept_at, request_key
            rows unbounded preceding
        ) as turn
    from unnamed
),

-- Linked lines get their smallest key, one kind of link after the other; a copy of a copy needs a second round.
{% for bond in bonds -%}
turns_{{ loop.index }} as (
    select
        {{ star_except(['request_key']) }},
        min(request_key) over (partition by response_id, {{ bond }}) as request_key
    from turns_{{ loop.index0 }}
),

{% endfor -%}
links as (
    select
        turns.request_key as turn_key,
        named.response_id,
        arg_min(
            named.request_key, (abs({{ microseconds('named.requested_at') }} - {{ microseconds('turns.requested_at') }}), named.request_key)
        ) filter (where named.logger = 'transcript') as request_key
    from turns_{{ bonds | length }} as turns
    inner join named on turns.message_id = named.response_id and turns.input_hash = named.input_hash
    group by all
),

stored as (
    select
        {{ star_except(['request_key', 'response_id', 'is_own_turn']) }},
        request_key,
        response_id,
        is_own_turn
    from named
    union all
    select
        {{ star_except(['request_key', 'response_id', 'opens', 'turn', 'line_id'], 'turns') }},
        coalesce(links.request_key, turns.request_key) as request_key,
        coalesce(links.response_id, turns.response_id) as response_id,
        links.turn_key is null and not ({{ is_providers }}) as is_own_turn
    from turns_{{ bonds | length }} as turns
    left join links on turns.request_key = links.turn_key
),

{% else -%}
stored as (
    select
        *,
        {{ is_own_request }} as is_own_turn
    from distinct_calls
),

{% endif -%}
{% if copies -%}
copyable as (
    select
        *,
        -- 0: an original, 1: possibly a copy, 2: a copy
        coalesce(is_copied::integer * 2, 1) as rank,
        min(coalesce(is_copied::integer * 2, 1)) over (partition by request_key) as key_rank
    from stored
    where copy_key <> ''
),

originals as (
    select
        copy_key,
        min(rank) as best_rank,
        arg_min(request_key, (rank, requested_at, request_key)) as request_key
    from copyable
    group by copy_key
),

-- The calls that each session made itself, to find the originals of copies.
own_calls as (
    select
        session_id as ancestor,
        copy_key,
        min(rank) as made_rank,
        min(requested_at) as made_at,
        arg_min(request_key, (rank, request_key)) as request_key
    from copyable
    where rank < 2
    group by session_id, copy_key
),

-- The sessions that a copy may come from: the one named in its file, those named in that session's file for the same
-- call, ...
lineage as (
    select distinct
        held_in,
        copy_key,
        copied_from as ancestor
    from copyable
    where copied_from <> ''
    union
    select
        lineage.held_in,
        lineage.copy_key,
        copyable.copied_from as ancestor
    from lineage
    inner join copyable on lineage.ancestor = copyable.held_in and lineage.copy_key = copyable.copy_key
    where copyable.copied_from <> ''
),

inherited as (
    select
        held_in,
        copy_key,
        -- if it is uncertain which file made the call, the oldest
        arg_min(own_calls.request_key, (made_rank, made_at, own_calls.request_key)) as original_key
    from lineage
    inner join own_calls using (ancestor, copy_key)
    group by held_in, copy_key
),

copied as (
    select
        copyable.request_key,
        min(
            coalesce(
                inherited.original_key,
                own_calls.request_key,
                originals.request_key
            )
        ) as original_key
    from copyable
    inner join originals using (copy_key)
    left join inherited using (held_in, copy_key)
    left join own_calls on copyable.copied_from = own_calls.ancestor and copyable.copy_key = own_calls.copy_key
    where
        -- a copy may have the key of its original
        rank = key_rank
        and rank > 0
        and (
            rank = 2
            or copyable.copied_from = ''
            or coalesce(inherited.original_key, own_calls.request_key) is not null
        )
    group by copyable.request_key
),

identified as (
    select
        {{ star_except(['request_key'], 'stored') }},
        coalesce(copied.original_key, stored.request_key) as request_key
    from stored
    left join copied using (request_key)
),

{% else -%}
identified as (
    select * from stored
),

{% endif -%}
{% if compares -%}
-- Responses that other loggers than transcripts recorded; few, if most files are transcripts.
shared as (
    select
        response_id,
        min(logger_rank) as best_rank,
        {% for rank, logger in levels.items() -%}
        bool_or(logger_rank = {{ rank }}) as in_{{ logger }},
        {% endfor -%}
        {% for label in labels -%}
        arg_min({{ label }}, (logger_rank, requested_at, {{ label }})) filter (where {{ label }} <> '')
            as {{ label }}{{ ',' if not loop.last }}
        {% endfor %}
    from identified
    where response_id in (select response_id from identified where logger <> 'transcript')
    group by response_id
),

requests as (
    select
        {{ star_except(labels, 'identified') }},
        {% for label in labels -%}
        coalesce(nullif(identified.{{ label }}, ''), shared.{{ label }}, '') as {{ label }},
        {% endfor -%}
        {% for rank, logger in levels.items() -%}
        coalesce(shared.in_{{ logger }}, identified.logger_rank = {{ rank }}) as in_{{ logger }}{{ ',' if not loop.last }}
        {% endfor %}
    from identified
    left join shared using (response_id)
    where shared.best_rank is null or identified.logger_rank = shared.best_rank
),

{% else -%}
requests as (
    select * from identified
),

{% endif -%}
main_lines as (
    select
        response_id,
        input_hash,
        arg_min(request_key, (requested_at, request_key)) as request_key
    from requests
    where not is_sidechain
    group by response_id, input_hash
),

main_keys as (
    select distinct request_key from requests
    where not is_sidechain
),

keyed as (
    select
        {{ star_except(['request_key'], 'requests') }},
        if(main_keys.request_key is null, coalesce(main_lines.request_key, requests.request_key), requests.request_key)
            as request_key,
        (output_tokens, is_copied is not true, kept_at, kept_id) as kept_order,
        (
            is_copied is true,
            -- of copies, the one in the oldest session is closest to the original
            if(is_copied, coalesce(session_started_at, requested_at), requested_at),
            session_id
        ) as owner_order
    from requests
    left join main_lines
        on
            requests.response_id = main_lines.response_id
            and requests.input_hash = main_lines.input_hash
            and not requests.is_own_turn
    left join main_keys on requests.request_key = main_keys.request_key
),

calls as (
    select
        request_key,
        min(response_id) as response_id,
        min(source_format) as source_format,
        min(requested_at) as requested_at,
        arg_max(provider, kept_order) as provider,
        arg_max(model, kept_order) as model,
        arg_max(model_version, kept_order) as model_version,
        {% for column in ['usage_type', 'inference_geo', 'speed'] -%}
        coalesce(arg_min({{ column }}, (requested_at, {{ column }})) filter (where {{ column }} <> ''), '')
            as {{ column }},
        {% endfor -%}
        -- of files that repeat the request, the one with the first rule determines the paying key
        min(scope_rule) as scope_rule,
        arg_min(scope_api_key, scope_rule) as scope_api_key,
        arg_min(scope_workspace, scope_rule) as scope_workspace,
        bool_and(is_sidechain) as is_sidechain,
        {% for kind in kinds() + part_kinds() | list + ['web_search_count', 'cache_split_assumed', 'total_tokens'] -%}
        arg_max({{ kind }}, kept_order) as {{ kind }},
        {% endfor -%}
        -- of the kept line, or null
        {{ max_by_or_null('stated_total_tokens', 'kept_order') }} as stated_total_tokens,
        {% if compares -%}
        min(logger_rank) as logger_rank,
        {% for logger in levels.values() -%}
        bool_or(in_{{ logger }}) as in_{{ logger }},
        {% endfor -%}
        bool_or(states_response_id) as states_response_id,
        {% endif -%}
        count(*) as files,
        -- last, as where loggers are compared
        arg_min(session_id, owner_order) as session_id,
        {% for label in labels[1:] -%}
        coalesce(arg_min({{ label }}, (requested_at, {{ label }})) filter (where {{ label }} <> ''), '')
            as {{ label }}{{ ',' if not loop.last }}
        {% endfor %}
    from keyed
    group by request_key
){% if compares %},

{#- For each logger: match its unmatched calls with calls of the loggers above that it did not record. -#}
{% for rank, logger in levels.items() %}
{%- set before = 'calls' if loop.first else 'calls_' ~ (rank - 1) %}
sides_{{ rank }} as (
    select
        request_key,
        requested_at,
        states_response_id,
        logger_rank = {{ rank }} as is_below,
        hash(model, {{ kind_columns() }}) as signature
    from {{ before }}
    where total_tokens > 0 and (logger_rank = {{ rank }} or (logger_rank < {{ rank }} and not in_{{ logger }}))
),

gaps_{{ rank }} as (
    select
        sides.*,
        coalesce(requested_at - lag(requested_at) over in_time > interval 5 second, true) as opens
    from sides_{{ rank }} as sides
    where signature in (select signature from sides_{{ rank }} where is_below)
    window in_time as (partition by signature order by requested_at, request_key)
),

runs_{{ rank }} as (
    select
        *,
        count(*) filter (where opens) over (partition by signature order by requested_at, request_key) as run
    from gaps_{{ rank }}
),

places_{{ rank }} as (
    select
        *,
        row_number() over (partition by signature, run, is_below order by requested_at, request_key) as place
    from runs_{{ rank }}
),

matches_{{ rank }} as (
    select
        above.request_key as kept_key,
        below.request_key as matched_key
    from places_{{ rank }} as above
    inner join places_{{ rank }} as below using (signature, run, place)
    where
        not above.is_below and below.is_below
        and abs({{ microseconds('above.requested_at') }} - {{ microseconds('below.requested_at') }}) <= 5000000
        -- two different ids of the provider are two calls
        and not (above.states_response_id and below.states_response_id)
),

calls_{{ rank }} as (
    select
        {{ star_except(labels, 'calls') }},
        {% for label in labels -%}
        coalesce(nullif(calls.{{ label }}, ''), below.{{ label }}, '') as {{ label }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ before }} as calls
    left join matches_{{ rank }} as matches on calls.request_key = matches.kept_key
    left join {{ before }} as below on matches.matched_key = below.request_key
    where calls.request_key not in (select matched_key from matches_{{ rank }})
){{ ',' if not loop.last }}
{% endfor %}

select {{ star_except(['logger_rank', 'in_transcript', 'in_gateway', 'in_span', 'states_response_id']) }}
from calls_4
{% else %}

select * from calls
{% endif %}
