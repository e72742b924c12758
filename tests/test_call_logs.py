"""Logs with one record per call: the oddities of each format, and that all tokens of a file are stored or listed.

Belongs here: the meaning of each format's records, fixtures named after their oddity, and the same call in the logs of
several systems. Does not belong here: transcripts of Claude Code (test_ingest), usage bodies
(test_experiment_records), and real logs (test_real_data).
"""

from __future__ import annotations

import json
import random
import types
from pathlib import Path
from typing import Any

import pytest
from conftest import Warehouse
from logs import (
    GEMINI,
    KINDS,
    MODEL,
    PI,
    answer,
    at,
    attribute,
    epoch,
    event,
    gemini,
    lines,
    meta,
    observation,
    opencode,
    otlp,
    pi,
    span,
    spend,
    tokens,
    turn,
)

from pipeline.ingest import formats, retraction


def kinds(home: Any, text: str, name: str = "log") -> list[tuple[Any, ...]]:
    home.land({name: text})
    home.ingest()
    found: list[tuple[Any, ...]] = home.query(f"SELECT {KINDS} FROM raw.requests ORDER BY requested_at, request_key")
    return found


# ---------- Codex


def test_a_counter_that_did_not_change_counts_once(home):
    found = kinds(home, lines(meta("a"), turn("gpt-5"), tokens(100, 100, 1), tokens(100, 100, 2), tokens(150, 50, 3)))
    assert found == [(90, 0, 0, 0, 10), (45, 0, 0, 0, 5)]
    assert home.ledger("log")["rows_repeated"] == 1
    assert home.query("SELECT DISTINCT model_version, provider, project FROM raw.requests") == [
        ("gpt-5", "openai", "shop")
    ]


def test_a_counter_that_drops_goes_on_counting(home):
    assert len(kinds(home, lines(meta("a"), tokens(900, 900, 1), tokens(80, 80, 2)))) == 2


def test_cached_tokens_of_codex_are_part_of_its_input_and_an_event_without_counts_is_ignored(home):
    empty = {"timestamp": at(0), "type": "event_msg", "payload": {"type": "token_count", "info": None}}
    assert kinds(home, lines(meta("a"), empty, tokens(100, 100, 1, cached=60))) == [(30, 0, 0, 60, 10)]
    assert home.ledger("log")["rows_ignored"] == 2


def test_a_resumed_rollout_replays_a_session_that_counts_once(models):
    first = [meta("a"), turn("gpt-5"), tokens(100, 100, 1), tokens(150, 50, 2)]
    replay = [meta("b", 60), meta("a", 61), turn("gpt-5", 61), tokens(100, 100, 61), tokens(150, 50, 61)]
    grown = [*replay, tokens(200, 50, 70)]
    files = {"1": lines(*first), "2": lines(*replay), "3": lines(*grown)}
    with models.over(files, "marts.requests") as connection:
        found = connection.execute("SELECT count(*), sum(total_tokens)::bigint FROM marts.requests").fetchall()
    assert found == [(3, 200)]


def without_step(event: dict[str, Any]) -> dict[str, Any]:
    event["payload"]["info"]["last_token_usage"] = None
    return event


def test_of_a_counter_without_its_last_step_the_difference_to_the_total_before_is_the_call(home):
    events = [without_step(tokens(100, 100, 1)), without_step(tokens(150, 0, 2)), without_step(tokens(150, 0, 3))]
    assert kinds(home, lines(meta("a"), *events, without_step(tokens(70, 0, 4)))) == [
        (90, 0, 0, 0, 10),
        (45, 0, 0, 0, 5),
        # the counter starts again
        (63, 0, 0, 0, 7),
    ]


def test_a_counter_that_states_no_output_is_rejected(home):
    odd = without_step(tokens(150, 0, 2))
    del odd["payload"]["info"]["total_token_usage"]["output_tokens"]
    assert kinds(home, lines(meta("a"), tokens(100, 100, 1), odd)) == [(90, 0, 0, 0, 10)]
    assert [row[:3] for row in home.rejected()] == [
        (3, len(lines(meta("a"), tokens(100, 100, 1))), "output tokens is not a whole number")
    ]


def record(n: int, total: int, response: str, second: float = 0, thread: str = "a") -> dict[str, Any]:
    """The usage of one response; `n` and `total` as in `tokens`."""
    info = tokens(total, n)["payload"]["info"]
    payload = {"thread_id": thread, "response_id": response, "usage": info["last_token_usage"]}
    payload["thread_token_usage"] = info["total_token_usage"]
    return {"timestamp": at(second), "type": "token_usage_record", "payload": payload}


def test_a_call_that_codex_records_twice_counts_once_and_a_compaction_that_only_one_record_tells_of_counts(home):
    entries = [
        record(100, 100, "r1", 60),
        tokens(100, 100, 60.1),
        tokens(200, 100, 120),
        record(100, 200, "r2", 120.1),
        record(500, 700, "compaction", 180),
        tokens(200, 0, 180.1),
        record(100, 800, "r3", 240),
        tokens(300, 100, 240.1),
    ]
    found = kinds(home, lines(meta("a"), *entries))
    assert found == [(90, 0, 0, 0, 10), (90, 0, 0, 0, 10), (450, 0, 0, 0, 50), (90, 0, 0, 0, 10)]
    assert home.query("SELECT response_id FROM raw.requests WHERE states_response_id ORDER BY 1") == [
        ("compaction",), ("r1",), ("r2",), ("r3",)
    ]  # fmt: skip
    assert home.ledger("log")["rows_repeated"] == 4


def test_records_of_codex_without_its_counter_count(home):
    assert kinds(home, lines(meta("a"), record(100, 100, "r1", 60), record(50, 150, "r2", 61))) == [
        (90, 0, 0, 0, 10),
        (45, 0, 0, 0, 5),
    ]


def test_cache_writes_of_codex_are_part_of_its_input(home):
    event = tokens(100, 100, 60, cached=50)
    event["payload"]["info"]["last_token_usage"]["cache_write_input_tokens"] = 30
    assert kinds(home, lines(meta("a"), event)) == [(10, 30, 0, 50, 10)]
    assert home.query("SELECT stated_total_tokens, cache_split_assumed FROM raw.requests") == [(100, False)]


def test_the_service_tier_of_codex_is_the_one_in_force(home):
    def settings(tier: str | None) -> dict[str, Any]:
        payload = {"type": "thread_settings_applied", "thread_settings": {"service_tier": tier}}
        return {"timestamp": at(0), "type": "event_msg", "payload": payload}

    entries = [tokens(10, 10, 60), settings("priority"), tokens(20, 10, 120), settings(None), tokens(30, 10, 180)]
    kinds(home, lines(meta("a"), *entries))
    assert home.query("SELECT usage_type FROM raw.requests ORDER BY requested_at") == [("",), ("priority",), ("",)]


# ---------- OpenCode, Gemini CLI, Pi


def test_reasoning_of_opencode_lies_outside_of_its_output(home):
    counts = {"input": 5, "output": 7, "reasoning": 11, "cache": {"read": 13, "write": 17}}
    assert kinds(home, opencode(counts)) == [(5, 17, 0, 13, 18)]
    ledger = home.ledger("log")
    assert (ledger["format"], ledger["rows_read"], ledger["rows_ignored"]) == ("opencode", 2, 1)


def test_thoughts_of_gemini_lie_outside_of_its_output_and_cached_tokens_inside_of_its_input(home):
    assert kinds(home, gemini(GEMINI)) == [(45, 0, 0, 60, 27)]


def test_a_snapshot_of_a_gemini_session_counts_once(models):
    with models.over({"1": gemini(GEMINI), "2": gemini(GEMINI, GEMINI)}, "marts.requests") as connection:
        found = connection.execute("SELECT count(*), sum(total_tokens)::bigint FROM marts.requests").fetchall()
    assert found == [(2, 264)]


def test_a_message_without_a_time_is_rejected_with_its_tokens(home):
    document = json.loads(gemini(GEMINI, GEMINI))
    del document["messages"][1]["timestamp"]
    assert len(kinds(home, json.dumps(document, indent=1))) == 1
    assert [row[:3] for row in home.rejected()] == [(2, 0, "no timestamp (132 tokens)")]


def test_a_document_that_was_cut_off_fails_and_is_named(home):
    assert kinds(home, gemini(GEMINI, GEMINI)[:-200]) == []
    ledger = home.ledger("log")
    assert (ledger["format"], ledger["status"]) == ("gemini_cli", "failed")
    assert "not valid JSON, perhaps cut off" in ledger["message"]


def test_a_document_longer_than_what_recognition_looks_at_is_read_whole(home):
    document = json.loads(gemini(GEMINI, GEMINI))
    document["messages"][0]["content"] = 'a "text", {of} [many] \\ marks ' * 60_000
    assert len(kinds(home, json.dumps(document, indent=1))) == 2


def test_reasoning_of_pi_lies_inside_of_its_output(home):
    assert kinds(home, pi(PI)) == [(5, 17, 0, 13, 18)]
    assert home.query("SELECT session_id, project FROM raw.requests") == [("s", "shop")]


def test_equal_ids_in_two_sessions_of_pi_are_two_messages_unless_they_have_one_time(models):
    later = pi(PI, session="t").replace(at(0), at(60))
    files = {"1": pi(PI), "2": pi(PI, session="fork with its parent's time"), "3": later}
    with models.over(files, "marts.requests") as connection:
        assert connection.execute("SELECT count(*) FROM marts.requests").fetchall() == [(2,)]


def test_a_fork_of_gemini_with_its_parents_time_counts_once(models):
    files = {"1": gemini(GEMINI), "2": gemini(GEMINI, GEMINI, session="fork")}
    with models.over(files, "marts.requests") as connection:
        assert connection.execute("SELECT count(*) FROM marts.requests").fetchall() == [(2,)]


def step(*counts: int) -> dict[str, Any]:
    cache = dict(zip(("read", "write"), counts[2:], strict=True))
    return {"type": "step-finish", "tokens": {"input": counts[0], "output": counts[1], "reasoning": 0, "cache": cache}}


def test_each_step_of_a_message_of_opencode_is_a_call_unless_the_message_holds_them_all(home):
    document = json.loads(opencode(*[{"input": 5, "output": 7, "cache": {"read": 3, "write": 2}}] * 3))
    # counts of the last step, of both steps, of an interrupted message
    document["messages"][1]["parts"] = [step(100, 50, 3, 2), step(5, 7, 3, 2)]
    document["messages"][2]["parts"] = [step(4, 4, 1, 1), step(1, 3, 2, 1)]
    document["messages"][3]["parts"] = [step(9, 8, 6, 5)]
    document["messages"][3]["info"]["tokens"] = {"input": 0, "output": 0}
    assert sorted(kinds(home, json.dumps(document, indent=1))) == [
        (5, 2, 0, 3, 7), (5, 2, 0, 3, 7), (9, 5, 0, 6, 8), (100, 2, 0, 3, 50)
    ]  # fmt: skip


def test_messages_of_version_2_of_opencode_and_its_compactions_count(home):
    tokens = {"input": 5, "output": 7, "reasoning": 1, "cache": {"read": 3, "write": 2}}
    own = {"time": {"created": int(epoch(1) * 1000)}, "tokens": tokens, "model": {"id": "m1", "providerID": "p1"}}
    messages = [
        {"id": "msg_1", "type": "assistant"} | own,
        {"id": "msg_2", "type": "compaction", "status": "failed"} | own | {"model": None},
        {"id": "msg_3", "type": "compaction", "status": "running", "time": own["time"]},
        {"id": "msg_4", "type": "user"} | own,
    ]
    info = {"id": "ses_1", "model": {"id": "m2", "providerID": "p2"}, "location": {"directory": "/u/shop"}}
    assert kinds(home, json.dumps({"info": info, "messages": messages}, indent=1)) == [(5, 2, 0, 3, 8)] * 2
    assert home.query("SELECT DISTINCT model_version, provider, project, session_id FROM raw.requests ORDER BY 1") == [
        ("m1", "p1", "shop", "ses_1"), ("m2", "p2", "shop", "ses_1")
    ]  # fmt: skip


def test_writes_of_pi_that_are_kept_for_an_hour_are_part_of_its_writes(home):
    assert kinds(home, pi(PI | {"cacheWrite1h": 10})) == [(5, 7, 10, 13, 18)]


def test_usage_of_pi_outside_of_messages_has_the_model_in_force(home):
    entry = {"type": "compaction", "id": "c", "timestamp": at(9), "usage": PI}
    result = {"role": "toolResult", "usage": PI}
    tool = {"type": "message", "id": "t", "timestamp": at(10), "message": result}
    assert len(kinds(home, pi(PI) + lines(entry, entry | {"type": "branch_summary", "id": "b"}, tool))) == 4
    assert home.query("SELECT DISTINCT provider, model_version FROM raw.requests") == [("p", "m")]


def test_a_total_tells_whether_reasoning_of_opencode_lies_inside_of_its_output(home):
    counts = {"input": 5, "output": 17, "reasoning": 11, "cache": {"read": 13, "write": 19}}
    answers = [counts | {"total": 54}, counts | {"total": 65}, counts | {"total": 1_000}, counts]
    assert [output for *_, output in kinds(home, opencode(*answers))] == [17, 28, 28, 28]


def test_what_sessions_state_as_total_is_what_is_stored_of_them(home):
    steps = [without_step(tokens(100, 100, 1, cached=40)), without_step(tokens(150, 0, 2, cached=40))]
    counts = {"input": 5, "output": 7, "reasoning": 11, "cache": {"read": 13, "write": 17}, "total": 53}
    home.land({"a": lines(meta("a"), *steps), "b": gemini(GEMINI), "c": opencode(counts), "d": pi(PI)})
    home.ingest()
    every = "input_tokens_no_cache + input_tokens_cache_write_5m + input_tokens_cache_read + output_tokens"
    assert home.query(f"SELECT source_format, stated_total_tokens, {every} FROM raw.requests ORDER BY ALL") == [
        ("codex", 50, 50),
        ("codex", 100, 100),
        ("gemini_cli", 132, 132),
        ("opencode", 53, 53),
        ("pi", 53, 53),
    ]


# ---------- LiteLLM, OpenTelemetry, Langfuse, the tracker


@pytest.mark.parametrize("encode", [lambda *rows: lines(*rows), lambda *rows: json.dumps(rows, indent=1)])
def test_prompt_tokens_of_litellm_contain_cached_tokens(home, encode):
    as_text = spend(2) | {"metadata": json.dumps(spend(2)["metadata"])}
    assert kinds(home, encode(spend(1), as_text)) == [(30, 10, 0, 60, 9)] * 2
    assert home.query("SELECT DISTINCT user_id, api_key, workspace FROM raw.requests") == [("ann", "hash", "team")]


def test_what_the_gateway_answered_from_its_own_cache_is_ignored(home):
    assert len(kinds(home, lines(spend(1), spend(2, cache_hit="True")))) == 1
    assert home.ledger("log")["rows_ignored"] == 1


def test_each_span_of_a_line_is_a_row_and_its_input_contains_cached_tokens(home):
    other = {"traceId": "t", "spanId": "s", "startTimeUnixNano": "1", "attributes": [attribute("http.method", "GET")]}
    agent = span(9, **{"gen_ai.operation.name": "invoke_agent"})
    assert kinds(home, lines(otlp(span(1), other, agent), otlp(span(2)))) == [(30, 10, 0, 60, 9)] * 2
    ledger = home.ledger("log")
    assert (ledger["format"], ledger["rows_read"], ledger["rows_ignored"]) == ("otel_genai", 4, 2)


def test_two_bad_spans_of_one_line_are_two_rejected_rows_there(home):
    bad = [span(2, **{"gen_ai.usage.output_tokens": -1}), span(3, **{"gen_ai.usage.cache_read.input_tokens": -60})]
    assert len(kinds(home, lines(otlp(span(1)), otlp(*bad), "{cut"))) == 1
    assert [(row[0], row[2]) for row in home.rejected()] == [
        (2, "output tokens is negative, expected a count"),
        (2, "cached tokens is negative, expected a count"),
        (3, "not a JSON object"),
    ]


def test_input_of_langfuse_excludes_cached_tokens_and_other_observations_are_ignored(home):
    exported = observation(2) | {"start_time": at(2), "usage_details": {"input": 1, "output_reasoning_tokens": 4}}
    del exported["startTime"], exported["usageDetails"]
    found = kinds(
        home, lines(observation(1), exported, {"id": "x", "traceId": "t", "type": "SPAN", "usageDetails": {}})
    )
    assert found == [(30, 10, 0, 60, 9), (1, 0, 0, 0, 4)]


def test_an_event_that_was_delivered_twice_counts_once(home):
    assert kinds(home, lines(event(1), event(1), event(2))) == [(30, 10, 0, 60, 9)] * 2
    assert home.ledger("log")["rows_repeated"] == 1


def test_events_hold_the_usage_of_any_provider(home):
    gemini_body = {"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 7}
    openai_body = {"prompt_tokens": 100, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 60}}
    found = kinds(home, lines(event(1, usage=gemini_body, provider="google"), event(2, usage=openai_body)))
    assert found == [(40, 0, 0, 60, 7), (40, 0, 0, 60, 9)]


# ---------- all of them

LOGS = {
    "codex": lines(meta("a"), tokens(100, 100, 1), tokens(150, 50, 2), tokens(150, 50, 3)),
    "opencode": opencode({"input": 5, "output": 7, "reasoning": 11}, {"input": 5, "output": 7}),
    "gemini_cli": gemini(GEMINI, GEMINI),
    "pi": pi(PI, PI),
    "litellm": lines(spend(1), spend(2)),
    "otel_genai": lines(otlp(span(1), span(2))),
    "langfuse": lines(observation(1), observation(2)),
    "tracker_events": lines(event(1), event(2)),
}


@pytest.mark.parametrize("name", LOGS)
def test_every_row_of_a_log_is_accounted_for_and_it_is_told_by_its_content(home, name):
    loaded = kinds(home, LOGS[name], "whatever.txt")
    ledger = home.ledger("whatever.txt")
    assert (ledger["format"], ledger["status"], ledger["rows_loaded"]) == (name, "loaded", len(loaded))
    assert len(loaded) == 2


# ---------- one call in the logs of several systems


def in_force(models: Any, files: dict[str, str]) -> list[tuple[Any, ...]]:
    with models.over(files, "marts.requests", "marts.token_conservation") as connection:
        assert connection.execute(
            "SELECT count(*) FROM marts.token_conservation "
            "WHERE stored_tokens <> superseded_tokens + in_force_tokens OR in_force_tokens <> marts_tokens"
        ).fetchall() == [(0,)]
        found: list[tuple[Any, ...]] = connection.execute(
            "SELECT source_format, count(*), sum(total_tokens)::bigint FROM marts.requests GROUP BY 1 ORDER BY 1"
        ).fetchall()
    return found


def four_logs(n: int, with_ids: bool, spread: float) -> dict[str, str]:
    """Logs of `n` calls in four systems; their clocks differ by up to four seconds."""
    place = [number * spread for number in range(n)]
    ids = {"gen_ai.response.id": "msg_{}"} if with_ids else {}
    return {
        "tracker.jsonl": lines(
            *(event(i, place[i] + 4, **({"response_id": f"msg_{i}"} if with_ids else {})) for i in range(n))
        ),
        "transcript.jsonl": lines(*(answer(i, place[i] + 1) for i in range(n))),
        "gateway.jsonl": lines(*(spend(i, place[i]) for i in range(n))),
        "spans.jsonl": lines(
            *(otlp(span(i, place[i] + 2.5, **{key: value.format(i) for key, value in ids.items()})) for i in range(n))
        ),
    }


@pytest.mark.parametrize("with_ids", [True, False])
@pytest.mark.parametrize("spread", [0.25, 60])
def test_a_thousand_calls_that_four_loggers_tell_of_count_once(models, with_ids, spread):
    assert in_force(models, four_logs(1000, with_ids, spread)) == [("tracker_events", 1000, 109_000)]


def test_of_several_loggers_the_one_nearest_to_the_application_counts(models):
    logs = four_logs(3, with_ids=True, spread=60)
    for name, kept in [("transcript", "claude_code"), ("gateway", "litellm"), ("spans", "otel_genai")]:
        del logs[{"transcript": "tracker.jsonl", "gateway": "transcript.jsonl", "spans": "gateway.jsonl"}[name]]
        assert in_force(models, logs) == [(kept, 3, 327)]


def test_calls_of_equal_counts_that_one_logger_made_are_not_one_call(models):
    assert in_force(models, {"t.jsonl": lines(*(answer(i, 0) for i in range(5)))}) == [("claude_code", 5, 545)]


def test_two_ids_of_the_provider_are_two_calls_however_alike(models):
    files = {"t.jsonl": lines(answer(1, 0)), "g.jsonl": lines(spend(2, 0))}
    assert in_force(models, files) == [("claude_code", 1, 109), ("litellm", 1, 109)]


def test_a_call_more_than_five_seconds_away_or_of_other_counts_is_another_call(models):
    logs = [
        observation(1, 5.1),
        observation(2, 1, usageDetails={"input": 109}),
        observation(3, 1, model="claude-opus-4-5"),
    ]
    files = {"t.jsonl": lines(answer(1, 0)), "o.jsonl": lines(*logs)}
    assert in_force(models, files) == [("claude_code", 1, 109), ("langfuse", 3, 327)]


def test_each_call_is_matched_once(models):
    files = {
        "t.jsonl": lines(answer(1, 0), answer(2, 1)),
        "o.jsonl": lines(*(observation(i, i / 2) for i in range(3))),
    }
    assert in_force(models, files) == [("claude_code", 2, 218), ("langfuse", 1, 109)]


def test_the_other_logs_fill_in_who_paid_for_a_call(models):
    files = {"t.jsonl": lines(answer(1, 0)), "g.jsonl": lines(spend(1, 2))}
    with models.over(files, "marts.requests") as connection:
        found = connection.execute("SELECT source_format, session_id, user_id, api_key FROM marts.requests").fetchall()
    assert found == [("claude_code", "s", "ann", "hash")]


def test_the_example_of_the_docs_reads_its_log(home, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()
    example = types.ModuleType("example")
    exec(page.split("```python\n")[1].split("```")[0], example.__dict__)
    monkeypatch.setattr(formats, "SOURCES", (*formats.SOURCES, example))
    log = page.split("with lines like `")[1].split("`")[0]
    assert kinds(home, log + "\n" + log + "\n") == [(40, 0, 0, 60, 9)]
    ledger = home.ledger("log")
    assert (ledger["format"], ledger["rows_read"], ledger["rows_repeated"]) == ("example", 2, 1)


def without_time(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in names}


def conserved(name: str, counts: list[tuple[int, int, int, bool]]) -> str:
    """A log of calls, each of input without cache, cache reads and output; a false flag means a call without a time."""
    if name == "codex":
        entries, total = [], 0
        for number, (no_cache, read, output, _) in enumerate(counts):
            total += no_cache + read + output
            entry = tokens(total, 0, number)
            last = {"input_tokens": no_cache + read, "cached_input_tokens": read, "output_tokens": output}
            entry["payload"]["info"]["last_token_usage"] = last
            entries.append(entry if counts[number][3] else without_time(entry, "timestamp"))
        return lines(meta("a"), *entries)
    if name in ("opencode", "gemini_cli"):
        if name == "opencode":
            document = json.loads(opencode(*({"input": i, "cache": {"read": r}, "output": o} for i, r, o, _ in counts)))
        else:
            document = json.loads(gemini(*({"input": i + r, "cached": r, "output": o} for i, r, o, _ in counts)))
        for message, (*_, has_time) in zip(document["messages"][1:], counts, strict=True):
            if not has_time:
                message.get("info", message).pop("time" if name == "opencode" else "timestamp")
        return json.dumps(document, indent=1)
    if name == "pi":
        header, change, *answers = pi(
            *({"input": i, "cacheRead": r, "output": o} for i, r, o, _ in counts)
        ).splitlines()
        timed = zip(map(json.loads, answers), counts, strict=True)
        return lines(header, change, *(e if has_time else without_time(e, "timestamp") for e, (*_, has_time) in timed))
    entries = []
    for number, (i, r, o, has_time) in enumerate(counts):
        if name == "litellm":
            usage = {"usage_object": {"cache_read_input_tokens": r}}
            entry = spend(number, prompt_tokens=i + r, completion_tokens=o, metadata=usage)
            entry |= {} if has_time else {"startTime": None, "endTime": ""}
        elif name == "otel_genai":
            used = {"input_tokens": i + r, "output_tokens": o, "cache_read.input_tokens": r}
            one = span(number, **{f"gen_ai.usage.{key}": value for key, value in used.items()})
            one["attributes"] = [a for a in one["attributes"] if "cache_creation" not in a["key"]]
            entry = otlp(one if has_time else without_time(one, "startTimeUnixNano", "endTimeUnixNano"))
        elif name == "langfuse":
            used = {"input": i, "output": o, "cache_read_input_tokens": r}
            entry = observation(number, usageDetails=used, **({} if has_time else {"startTime": None}))
        else:
            used = {"input_tokens": i, "output_tokens": o, "cache_read_input_tokens": r}
            entry = event(number, usage=used, **({} if has_time else {"timestamp": ""}))
        entries.append(entry)
    return lines(*entries)


@pytest.mark.parametrize("name", LOGS)
def test_tokens_of_a_log_are_stored_or_listed_as_rejected(home, name):
    chance = random.Random(name)
    counts = [
        (*(chance.randrange(10 ** chance.randrange(1, 10)) for _ in range(3)), chance.random() < 0.7) for _ in range(40)
    ]
    stored = kinds(home, conserved(name, counts))
    listed = sum(int(reason.split("(")[1].split(" ")[0]) for _, _, reason, _, _ in home.rejected())
    assert sorted(stored) == sorted((i, 0, 0, r, o) for i, r, o, has_time in counts if has_time)
    assert listed == sum(i + r + o for i, r, o, has_time in counts if not has_time)


# ---------- parts of counts


def test_a_langfuse_detail_that_is_no_cached_token_is_further_input_or_output(home):
    details = {
        "input": 100, "input_audio_tokens": 40, "input_ephemeral_1h_input_tokens": 30, "input_cache_read": 20,
        "output": 7, "output_reasoning": 5, "output_accepted_prediction_tokens": 3, "total": 205,
    }  # fmt: skip
    assert kinds(home, lines(observation(1, usageDetails=details))) == [(140, 0, 30, 20, 15)]
    assert home.query("SELECT input_audio_tokens, stated_total_tokens FROM raw.requests") == [(40, 205)]


def test_details_of_langfuse_that_name_a_tier_are_of_it(home):
    details = {
        "input": 0, "input_priority": 400, "input_priority_cache_read": 600, "output": 0, "output_priority": 40,
        "output_priority_reasoning": 10, "total": 1050,
    }  # fmt: skip
    assert kinds(home, lines(observation(1, usageDetails=details))) == [(400, 0, 0, 600, 50)]
    assert home.query("SELECT usage_type, stated_total_tokens FROM raw.requests") == [("priority", 1050)]


def test_the_write_split_searches_and_geo_that_a_gateway_nests_are_read(home):
    usage = {
        "prompt_tokens_details": {
            "cached_tokens": 60,
            "cache_creation_tokens": 10,
            "cache_creation_token_details": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 7},
        },
        "server_tool_use": {"web_search_requests": 5},
        "inference_geo": "us",
    }
    assert kinds(home, lines(spend(1, metadata={"usage_object": usage}))) == [(30, 3, 7, 60, 9)]
    assert home.query("SELECT web_search_count, inference_geo FROM raw.requests") == [(5, "us")]


def test_a_span_that_adds_up_the_spans_right_below_it_counts_no_call_in_whichever_files_they_stand(models, new_home):
    chance = random.Random(3)
    spans, calls = [], 0
    for tree in range(12):
        # Parents of parents, some without usage; each has some calls below it.
        counts: dict[str, int] = {}
        above: dict[str, str | None] = {"0": None}
        for number in range(1, chance.randint(2, 7)):
            above[str(number)] = chance.choice([*above])
        for name in reversed(above):
            below = [counts[child] for child, parent in above.items() if parent == name]
            counts[name] = sum(below) or chance.randrange(1, 10**6)
            calls += not below
            used: dict[str, Any] = {
                "gen_ai.usage.input_tokens": counts[name] * 2, "gen_ai.usage.output_tokens": counts[name]
            }  # fmt: skip
            if below and chance.random() < 0.4:
                used = dict.fromkeys(used)
            kept = {f"gen_ai.usage.cache_{kind}.input_tokens": None for kind in ("read", "creation")}
            one = span(tree * 100 + int(name), **used, **kept) | {"traceId": f"t{tree}", "spanId": f"s{name}"}
            spans.append(one | ({"parentSpanId": f"s{above[name]}"} if above[name] else {}))
    chance.shuffle(spans)
    kept_up = Warehouse(models, new_home(), "marts.requests")
    for number in range(4):
        kept_up.home.land({f"{number}.jsonl": lines(otlp(*spans[number::4]), otlp(*spans[: number * 3]))})
        kept_up.update(10**9)
    found = kept_up.connection.execute("SELECT count(*) FROM marts.requests").fetchall()
    assert found == [(calls,)]
    assert kept_up.marts() == kept_up.rebuilt()


def test_a_span_over_one_without_usage_adds_up_what_is_below_that(models):
    parent = span(1) | {"traceId": "t"}
    agent = {"traceId": "t", "spanId": "agent", "parentSpanId": parent["spanId"], "attributes": []}
    call = span(2) | {"traceId": "t", "parentSpanId": "agent"}
    a, b, c = (lines(otlp(each)) for each in (parent, agent, call))
    for files in ({"a": a + b + c}, {"a": a, "b": b + c}, {"a": a + b, "c": c}, {"a": a, "b": b, "c": c}):
        with models.over(files, "marts.requests") as connection:
            assert connection.execute("SELECT count(*) FROM marts.requests").fetchall() == [(1,)]


def test_a_span_without_usage_that_comes_last_or_goes_joins_and_parts_those_above_and_below_it(models, new_home):
    parent = span(1) | {"traceId": "t"}
    between = [
        {"traceId": "t", "spanId": f"s-{n}", "parentSpanId": f"s-{n - 1}" if n else parent["spanId"], "attributes": []}
        for n in range(3)
    ]
    call = span(2) | {"traceId": "t", "parentSpanId": "s-2"}
    kept_up = Warehouse(models, new_home(), "marts.requests")
    count = "SELECT count(*) FROM marts.requests"
    for name, some, wanted in [("a", [parent, call], 2), ("b", between[::2], 2), ("c", between[1:2], 1)]:
        kept_up.home.land({name: lines(otlp(*some))})
        kept_up.update(10**9)
        assert kept_up.connection.execute(count).fetchall() == [(wanted,)]
    retraction.forget_file(kept_up.connection, "landing/c")
    kept_up.update(10**9)
    assert kept_up.connection.execute(count).fetchall() == [(2,)]


DETAILS: dict[str, tuple[dict[str, Any], list[tuple[Any, ...]]]] = {
    # name: attributes of a span, and its calls: input without cache, writes, reads, output, audio output, model
    "thoughts lie inside of output, as pydantic-ai counts": (
        {"input_tokens": 100, "output_tokens": 59, "details.thoughts_tokens": 58}, [(100, 0, 0, 59, 0, MODEL)],
    ),
    "thoughts that are more than output lie beside it": (
        {"input_tokens": 2, "output_tokens": 13, "details.thoughts_tokens": 58}, [(2, 0, 0, 71, 0, MODEL)],
    ),
    "candidates exclude thoughts": (
        {"input_tokens": 2, "output_tokens": 60, "details.thoughts_tokens": 58, "details.text_candidates_tokens": 60},
        [(2, 0, 0, 118, 0, MODEL)],
    ),
    "thoughts lie beside the output of google.genai": (
        {"input_tokens": 1000, "output_tokens": 200, "cache_read.input_tokens": 750, "details.thoughts_tokens": 80,
         "details.tool_use_prompt_tokens": 30, "code.function.name": "google.genai.Models.generate_content"},
        [(280, 0, 750, 280, 0, MODEL)],
    ),
    "the results of Gemini's own tools lie beside its prompt": (
        {"input_tokens": 213, "output_tokens": 483, "details.tool_use_prompt_tokens": 426,
         "details.text_prompt_tokens": 213, "details.text_tool_use_prompt_tokens": 426}, [(639, 0, 0, 483, 0, MODEL)],
    ),
    "unless input is stated with them": (
        {"input_tokens": 150, "output_tokens": 60, "details.tool_use_prompt_tokens": 50,
         "details.input_tool_tokens": 50}, [(150, 0, 0, 60, 0, MODEL)],
    ),
    "reasoning lies inside of output": (
        {"input_tokens": 9, "output_tokens": 90, "details.reasoning_tokens": 80,
         "details.accepted_prediction_tokens": 4, "details.rejected_prediction_tokens": 3}, [(9, 0, 0, 90, 0, MODEL)],
    ),
    "unless it is more than output": (
        {"input_tokens": 9, "output_tokens": 20, "details.reasoning_tokens": 80}, [(9, 0, 0, 100, 0, MODEL)],
    ),
    "audio of OpenAI's completion": (
        {"input_tokens": 9, "output_tokens": 90, "details.audio_tokens": 70}, [(9, 0, 0, 90, 70, MODEL)],
    ),
    "input contains a compaction, and cached tokens are stated apart from its own": (
        {"input_tokens": 1000, "output_tokens": 90, "details.input_tokens": 100, "details.output_tokens": 40,
         "details.cache_read_input_tokens": 200, "details.compaction_input_tokens": 300,
         "details.compaction_output_tokens": 50, "details.compaction_cache_read_input_tokens": 390,
         "details.compaction_cache_creation_input_tokens": 10, "details.compaction_iterations": 1},
        [(400, 10, 590, 90, 0, MODEL)],
    ),
    "an adviser's call, whose model the parameters of the request name": (
        {"input_tokens": 100, "output_tokens": 40, "details.advisor_input_tokens": 1000,
         "details.advisor_output_tokens": 500, "details.advisor_cache_read_input_tokens": 70,
         "model_request_parameters": json.dumps({"native_tools": [{"kind": "advisor", "model": "claude-opus-4-8"}]})},
        [(100, 0, 0, 40, 0, MODEL), (1000, 0, 70, 500, 0, "claude-opus-4-8")],
    ),
    "an adviser's call, of which no model is known": (
        {"input_tokens": 100, "output_tokens": 40, "details.advisor_output_tokens": 500},
        [(100, 0, 0, 40, 0, MODEL), (0, 0, 0, 500, 0, "")],
    ),
}  # fmt: skip


def test_details_of_a_span_count_as_what_they_are(home):
    spans = []
    for number, (stated, _) in enumerate(DETAILS.values()):
        texts = {key: value for key, value in stated.items() if isinstance(value, str)}
        counts = {f"gen_ai.usage.{key}": value for key, value in stated.items() if isinstance(value, int)}
        absent = {f"gen_ai.usage.cache_{kind}.input_tokens": None for kind in ("read", "creation")}
        spans.append(span(number, **(absent | counts | texts)))
    home.land({"spans.jsonl": lines(otlp(*spans))})
    home.ingest()
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in DETAILS}
    for moment, *call in home.query("""
        SELECT epoch(requested_at), input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_read,
            output_tokens, output_audio_tokens, model_version
        FROM raw.requests ORDER BY request_key
    """):
        found[[*DETAILS][round(moment - epoch(0))]].append(tuple(call))
    assert found == {name: wanted for name, (_, wanted) in DETAILS.items()}
    assert home.query("SELECT count(*) FROM raw.requests WHERE stated_total_tokens IS NOT NULL") == [(0,)]


def test_a_detail_of_an_unknown_kind_is_at_stake_in_the_total(home):
    usage = {"gen_ai.usage.details.citation_tokens": 25, "gen_ai.usage.details.server_tool_calls": 3}
    home.land({"spans.jsonl": lines(otlp(span(1, **usage)))})
    home.ingest()
    assert home.query(f"SELECT stated_total_tokens, {KINDS.replace(', ', ' + ')} FROM raw.requests") == [(134, 109)]


# ---------- calls inside calls


def test_calls_inside_of_a_response_are_calls_whether_or_not_the_record_adds_them_up(home):
    chance = random.Random(11)
    wanted = []
    rows: dict[str, list[Any]] = {"litellm": [], "langfuse": []}
    for number in range(60):
        kind = chance.choice(["message", "fallback_message"])
        own = {"type": kind, "model": "claude-opus-4-5"} | counts_of(chance)
        further = [
            {"type": name, "model": chance.choice(["claude-opus-4-7", None])} | counts_of(chance)
            for name in chance.sample(["advisor_message", "compaction"], chance.randint(1, 2))
        ]
        if kind == "fallback_message":
            further.insert(0, {"type": "message", "model": MODEL} | counts_of(chance))
        name = chance.choice([*rows])
        is_sum, adds_cached = chance.choice([(False, False), (True, True), (True, False)])
        stated = [own, *further] if is_sum else [own]
        input_, output = (sum(each[key] for each in stated) for key in ("input_tokens", "output_tokens"))
        read, write = (
            sum(each[key] for each in (stated if adds_cached else [own]))
            for key in ("cache_read_input_tokens", "cache_creation_input_tokens")
        )
        cached = {"cache_read_input_tokens": read, "cache_creation_input_tokens": write}
        iterations = [*further, own]
        if name == "litellm":
            total = {"prompt_tokens": input_ + read + write, "completion_tokens": output}
            place = chance.choice(["usage_object", "additional_usage_values"])
            row = spend(number, total_tokens=input_ + read + write + output, **total)
            rows[name].append(row | {"metadata": {place: cached | {"iterations": iterations}}})
        else:
            details = {"input": input_, "output": output, "total": input_ + output + read + write} | cached
            rows[name].append(observation(number, usageDetails=details | {"iterations": iterations}))
        served = own["model"] if kind == "fallback_message" else None
        wanted += [(name, number, each["model"] or served, *in_order(each)) for each in further]
        wanted.append((name, number, served, *in_order(own)))
    home.land({name: lines(*entries) for name, entries in rows.items()})
    home.ingest()
    found = home.query(f"""
        SELECT source_format, epoch(requested_at)::bigint, model_version, {KINDS} FROM raw.requests
    """)
    names = {MODEL: None, f"anthropic/{MODEL}": None}
    start = int(epoch(0))
    assert sorted(((n, at - start, names.get(m, m), *k) for n, at, m, *k in found), key=str) == sorted(
        ((n, at, names.get(m, m), *k) for n, at, m, *k in wanted), key=str
    )
    stated = home.query("SELECT count(*), count(*) FILTER (WHERE stated_total_tokens <> "
        f"{KINDS.replace(', ', ' + ')}) FROM raw.requests WHERE stated_total_tokens IS NOT NULL")  # fmt: skip
    assert stated == [(60, 0)]


def counts_of(chance: random.Random) -> dict[str, int]:
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    return {name: chance.randrange(1, 10**6) for name in names}


def in_order(call: dict[str, Any]) -> tuple[int, ...]:
    created, read = call["cache_creation_input_tokens"], call["cache_read_input_tokens"]
    return call["input_tokens"], created, 0, read, call["output_tokens"]


def test_a_bad_count_of_a_call_inside_rejects_its_record(home):
    usage = {"iterations": [{"type": "compaction", "input_tokens": -5, "output_tokens": 1}]}
    assert kinds(home, lines(spend(1), spend(2, metadata={"usage_object": usage}))) == [(30, 10, 0, 60, 9)]
    assert [row[2] for row in home.rejected()] == ["input tokens is negative, expected a count"]


def test_fewer_input_than_cached_tokens_are_exclusive_counts(home):
    assert kinds(home, lines(otlp(span(1, **{"gen_ai.usage.input_tokens": 5})))) == [(5, 10, 0, 60, 9)]
