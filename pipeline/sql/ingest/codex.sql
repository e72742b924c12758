-- Each line of a rollout with what is in force there: the session of the last session_meta, the model of the last turn.
-- The counter is cumulative: a line that repeats its value repeats the usage, so its key is the session and that value.
select
    line,
    case
        when is_malformed then line
        when is_count then to_json({
            key: coalesce(last_value(session_id ignore nulls) over so_far, '') || ':' || total_usage,
            session_id: last_value(session_id ignore nulls) over so_far,
            logged_at: logged_at,
            provider: coalesce(last_value(model_provider ignore nulls) over so_far, 'openai'),
            model: last_value(model ignore nulls) over so_far,
            cwd: last_value(cwd ignore nulls) over so_far,
            input_tokens: input_tokens,
            cached_input_tokens: cached_input_tokens,
            -- a counter without its last step tells nothing that could be counted
            output_tokens: if(total_usage <> '' and input_tokens is null, 'unstated', output_tokens)
        })::varchar
        else '{}'
    end as document
from codex_lines
window so_far as (order by rowid rows between unbounded preceding and current row)
