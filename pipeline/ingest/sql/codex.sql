-- Converts each line of a rollout to the record of a call for CallShape; {} without a call. The counter of token_count
-- is cumulative: a line that does not change it repeats the call before; if only totals are stated, the difference to
-- the line before is the call. A token_usage_record next to a token_count with equal usage is the same call; a record
-- alone is a call that the counter leaves out, such as a compaction. The file is the session of its first session_meta.
-- A fork starts with its parent's history, which does not count: lines older than the file, and lines at its beginning
-- that were written faster than any model answers.
with with_headers as (
    select
        rowid as place,
        *,
        first_value(session_id ignore nulls) over whole as file_session,
        first_value(began ignore nulls) over whole as file_began,
        first_value(if(is_meta, null, rowid) ignore nulls) over whole as first_place,
        first_value(if(is_meta, null, seen) ignore nulls) over whole as first_seen,
        lag(seen) over in_order as seen_before,
        is_meta and not coalesce(lag(is_meta) over in_order, false) as opens_headers
    from codex_lines
    window
        whole as (order by rowid rows between unbounded preceding and unbounded following),
        in_order as (order by rowid)
),

named as (
    select
        *,
        -- Of consecutive headers, the first is the file's own, the next its parent's, the following those of older
        -- ancestors.
        if(
            is_meta and session_id <> file_session
            and (opens_headers or coalesce(lag(opens_headers and session_id = file_session) over (order by place), false)),
            session_id, null
        ) as copied_header
    from with_headers
),

in_force as (
    select
        * exclude (model, cwd, model_provider, service_tier, parent_id),
        coalesce(last_value(copied_header ignore nulls) over so_far, first_value(parent_id ignore nulls) over so_far)
            as parent_session,
        bool_or(parent_id is not null or copied_header is not null) over whole as is_fork,
        count(*) filter (where is_meta) over so_far as headers,
        last_value(model_provider ignore nulls) over so_far as provider,
        last_value(model ignore nulls) over so_far as model,
        last_value(cwd ignore nulls) over so_far as cwd,
        nullif(last_value(service_tier ignore nulls) over so_far, '') as service_tier
    from named
    window
        whole as (order by place rows between unbounded preceding and unbounded following),
        so_far as (order by place rows between unbounded preceding and current row)
),

usages as (
    select
        *,
        last_value(if(is_count, total_usage, null) ignore nulls) over (
            order by place rows between unbounded preceding and 1 preceding
        ) as total_before,
        list_transform(total_usage, lambda n: tokens_or_null(n)) as totals,
        list_transform(total_before, lambda n: tokens_or_null(n)) as totals_before,
        is_record or total_usage is null or total_before is null or total_usage <> total_before as is_call,
        case
            when stated_usage is not null then stated_usage
            -- the counter was reset
            when total_before is null or totals[1] < totals_before[1] or totals[3] < totals_before[3] then total_usage
            else [
                (totals[1] - totals_before[1])::varchar,
                greatest(coalesce(totals[2], 0) - coalesce(totals_before[2], 0), 0)::varchar,
                coalesce((totals[3] - totals_before[3])::varchar, 'unstated'),
                null,
                (totals[5] - totals_before[5])::varchar,
                greatest(coalesce(totals[6], 0) - coalesce(totals_before[6], 0), 0)::varchar
            ]
        end as usage
    from in_force
    where (is_count or is_record) and (stated_usage is not null or total_usage is not null)
),

neighbours as (
    select
        *,
        array_to_string(coalesce(total_usage, usage)[1:5], ',') as counter,
        row_number() over (partition by headers, is_record, counter order by place) as occurrence,
        coalesce(
            is_record <> lead(is_record) over in_order
            and abs(epoch_us(lead(seen) over in_order) - epoch_us(seen)) <= 5000000
            and (usage[1:3] = lead(usage[1:3]) over in_order or total_usage = lead(total_usage) over in_order),
            false
        ) as is_like_next
    from usages
    where is_call
    window in_order as (order by place)
),

pairs as (
    select
        *,
        is_record and is_like_next as begins_with_record,
        -- a record with its count below has none above
        not is_record and is_like_next
        and not coalesce(lag(is_record and is_like_next) over in_order, false)
        and not coalesce(lead(is_record and is_like_next) over in_order, false) as begins_with_count
    from neighbours
    window in_order as (order by place)
),

numbered as (
    select
        *,
        coalesce(lag(begins_with_record or begins_with_count) over (order by place), false) as is_second
    from pairs
),

lines_of_calls as (
    select
        *,
        count(*) filter (where not is_second) over (order by place) as call_number
    from numbered
),

-- One row per call, from its one or two lines.
calls as (
    select
        call_number,
        min(seen) as seen,
        arg_max(usage, is_record) as usage,
        any_value(response_id) as response_id,
        any_value(thread_id) as thread_id,
        any_value(counter) filter (where is_record) as record_counter,
        any_value(occurrence) filter (where is_record) as record_occurrence,
        any_value(counter) filter (where is_count) as counter,
        any_value(occurrence) filter (where is_count) as occurrence,
        any_value(file_session) as file_session,
        any_value(file_began) as file_began,
        arg_min(parent_session, place) as parent_session,
        any_value(is_fork) as is_fork,
        arg_min(if(first_place = place, seen_before, first_seen), place) as begun
    from lines_of_calls
    group by call_number
),

paced as (
    select
        *,
        case
            when lag(seen) over in_order is not null then seen - lag(seen) over in_order
            else least(seen - begun, lead(seen) over in_order - seen)
        end as pause,
        coalesce(pause < interval 1 second, false) as is_instant,
        coalesce(pause < interval 5 second, false) as is_quick
    from calls
    window in_order as (order by call_number)
),

paced_first as (
    select
        *,
        seen < file_began or count(*) filter (where not is_instant and not coalesce(seen < file_began, false)) over (
            order by call_number
        ) = 0 as is_at_head,
        count(*) filter (where not is_quick) over (order by call_number) = 0 as is_near_head
    from paced
),

owned as (
    select
        *,
        case
            when thread_id is not null then thread_id <> file_session
            -- a single quick call is no replay, unless the file is a fork
            when is_at_head then parent_session is not null or count(*) filter (where is_at_head) over () > 1
            -- a slow disk spreads a replay; a fork without one at its beginning may have it with new times
            when is_near_head and count(*) filter (where is_at_head) over () > 0 and parent_session is not null then null
            when is_fork and count(*) filter (where is_at_head) over () = 0 then null
            else false
        end as is_copied,
        coalesce(thread_id, if(is_copied, parent_session, null), file_session, '') as owner,
        if(is_copied is not false, parent_session, null) as copied_from
    from paced_first
),

identified as (
    select
        *,
        case
            when response_id is not null then concat_ws(':', response_id, record_counter)
            when counter is not null then concat_ws(':', owner, counter, nullif(occurrence, 1))
            else concat_ws(':', owner, 'record', record_counter, nullif(record_occurrence, 1))
        end as call_key,
        if(counter is null, call_key, concat_ws(':', counter, occurrence)) as copy_key
    from owned
),

-- A line with an unchanged counter repeats the last call that changed it.
numbered_usages as (
    select
        usages.*,
        if(
            usages.is_record, lines_of_calls.call_number,
            last_value(if(usages.is_count, lines_of_calls.call_number, null) ignore nulls) over (
                order by usages.place rows between unbounded preceding and current row
            )
        ) as call_number
    from usages
    left join lines_of_calls on usages.place = lines_of_calls.place
)

select
    codex_lines.line,
    case
        when codex_lines.is_malformed then codex_lines.line
        when numbered_usages.place is null then '{}'
        else to_json({
            key: identified.call_key,
            copy_key: identified.copy_key,
            copied_from: identified.copied_from,
            held_in: identified.file_session,
            began: identified.file_began::varchar,
            is_copied: coalesce(identified.is_copied::varchar, 'unknown'),
            response_id: identified.response_id,
            session_id: identified.owner,
            logged_at: numbered_usages.logged_at,
            provider: coalesce(numbered_usages.provider, 'openai'),
            model: numbered_usages.model,
            cwd: numbered_usages.cwd,
            service_tier: numbered_usages.service_tier,
            input_tokens: identified.usage[1],
            cached_input_tokens: identified.usage[2],
            output_tokens: identified.usage[3],
            total_tokens: identified.usage[5],
            cache_write_input_tokens: identified.usage[6]
        })::varchar
    end as document
from codex_lines
left join numbered_usages on codex_lines.rowid = numbered_usages.place
left join identified on numbered_usages.call_number = identified.call_number
