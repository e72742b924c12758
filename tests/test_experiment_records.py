"""Experiment records: the kind of token of each provider's counts, and that all tokens of a file count once.

Belongs here: recognition, the usage bodies of each provider, repeats, and what is rejected. Does not belong here: how
records are compared with a bill (test_reconciliation).
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ingest.sources import experiment_records
from pipeline.ingest.sources.contract import Probe
from pipeline.store import warehouse

BODIES = Path(__file__).parents[2] / "shared" / "data" / "genai_prices" / "usages.json"
KINDS = (
    "input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read, "
    "output_tokens"
)
Body = dict[str, Any]


def record(usage: Body | None, number: int = 0, **fields: Any) -> str:
    stamp = (dt.datetime(2026, 6, 21, 8) + dt.timedelta(seconds=number)).isoformat() + "Z"
    entry = {"run_id": "run", "timestamp": stamp, "model_version": "claude-haiku-4-5-20251001", "usage_raw": usage}
    return json.dumps(entry | fields)


def kinds(home: Any, *lines: str) -> list[tuple[Any, ...]]:
    home.land({"records.jsonl": "\n".join(lines) + "\n"})
    home.ingest()
    found: list[tuple[Any, ...]] = home.query(f"SELECT {KINDS} FROM raw.requests ORDER BY requested_at")
    return found


# Each body, and its tokens: input, write 5m, write 1h, read, output.
KNOWN_BODIES = {
    "anthropic, whose input is without cached tokens": (
        {
            "input_tokens": 10, "cache_creation_input_tokens": 70, "cache_read_input_tokens": 5, "output_tokens": 3,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 50},
        },
        (10, 20, 50, 5, 3),
    ),
    "anthropic before it separated 5 minutes and 1 hour": (
        {"input_tokens": 10, "cache_creation_input_tokens": 70, "cache_read_input_tokens": None, "output_tokens": 3},
        (10, 70, 0, 0, 3),
    ),
    "openai chat, whose prompt holds cached tokens and whose completion holds reasoning": (
        {
            "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
            "prompt_tokens_details": {"cached_tokens": 60},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        (40, 0, 0, 60, 30),
    ),
    "xai, whose reasoning lies beside its completion": (
        {
            "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 150,
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        (100, 0, 0, 0, 50),
    ),
    "openai responses, whose input holds what is read and written": (
        {
            "input_tokens": 100, "output_tokens": 30, "total_tokens": 130,
            "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 25},
        },
        (15, 25, 0, 60, 30),
    ),
    "gemini, whose prompt holds cached tokens and whose thoughts are output": (
        {
            "promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 7, "thoughtsTokenCount": 20,
            "toolUsePromptTokenCount": 5, "totalTokenCount": 132,
        },
        (45, 0, 0, 60, 27),
    ),
    "gemini as its python library spells it": (
        {"prompt_token_count": 100, "cached_content_token_count": 60, "candidates_token_count": 7},
        (40, 0, 0, 60, 7),
    ),
    "bedrock, whose input is without cached tokens": (
        {"inputTokens": 22, "outputTokens": 13, "cacheReadInputTokens": 2492, "cacheWriteInputTokens": 4},
        (22, 4, 0, 2492, 13),
    ),
    "langchain, whose input holds what is read and written": (
        {
            "input_tokens": 1000, "output_tokens": 50, "total_tokens": 1050,
            "input_token_details": {
                "cache_read": 600, "cache_creation": 0,
                "ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70,
            },
        },
        (300, 30, 70, 600, 50),
    ),
    "langchain, with the tier before the names": (
        {
            "input_tokens": 1000, "output_tokens": 50, "total_tokens": 1050,
            "input_token_details": {"flex_cache_read": 600, "flex": 400},
            "output_token_details": {"flex_reasoning": 10, "flex": 40},
        },
        (400, 0, 0, 600, 50),
    ),
    "vercel's sdk, whose input holds cached tokens": (
        {
            "inputTokens": 1000, "outputTokens": 50, "totalTokens": 1050,
            "cachedInputTokens": 600, "reasoningTokens": 20,
        },
        (400, 0, 0, 600, 50),
    ),
}  # fmt: skip


def test_the_numbers_of_each_provider_count_as_the_kinds_they_are(home):
    bodies = [record(body, number) for number, (body, _) in enumerate(KNOWN_BODIES.values())]
    found = dict(zip(KNOWN_BODIES, kinds(home, *bodies), strict=True))
    assert found == {name: expected for name, (_, expected) in KNOWN_BODIES.items()}
    assert home.query("SELECT count(*) FROM raw.requests WHERE usage_type = 'flex'") == [(1,)]


def usage_of(body: Body) -> Body | None:
    return body.get("usage") or body.get("usageMetadata")


# A count that only one kind of body has, with the provider and interface of that kind.
NATURAL = {
    "promptTokenCount": ("google", "default"),
    "prompt_tokens": ("openai", "chat"),
    "input_tokens_details": ("openai", "responses"),
    "input_tokens": ("anthropic", "default"),
}


def natural_of(body: Body) -> tuple[str, str] | None:
    return next((kind for name, kind in NATURAL.items() if name in (usage_of(body) or {})), None)


def counts_of(usage: dict[str, int]) -> tuple[int, int, int, int]:
    """Input, writes, reads and output of a normalised usage; its input contains the cached tokens."""
    reads, writes = usage.get("cache_read_tokens", 0), usage.get("cache_write_tokens", 0)
    return usage.get("input_tokens", 0) - reads - writes, writes, reads, usage.get("output_tokens", 0)


@pytest.mark.skipif(not BODIES.is_file(), reason="no real data in shared beside the repository")
def test_real_usage_bodies_hold_what_genai_prices_extracts_from_them(home, capsys):
    entries = json.loads(BODIES.read_text())
    home.land({"records.jsonl": "\n".join(record(usage_of(entry["body"]), n) for n, entry in enumerate(entries))})
    home.ingest()
    start = dt.datetime(2026, 6, 21, 8)
    found = {
        int((at - start).total_seconds()): (no_cache, write_5m + write_1h, read, output)
        for at, no_cache, write_5m, write_1h, read, output in home.query(
            # except calls inside a response, which the library leaves out
            f"SELECT requested_at, {KINDS} FROM raw.requests WHERE NOT contains(request_key, '#')"
        )
    }
    reasons = {row[0] - 1: row[2] for row in home.rejected()}
    report: list[str] = []
    for provider, flavor in NATURAL.values():
        theirs = {
            number: counts_of(way["usage"])
            for number, entry in enumerate(entries)
            if natural_of(entry["body"]) == (provider, flavor)
            for way in entry["extracted"]
            if (provider, flavor) in {(each["provider_id"], each["api_flavor"]) for each in way["extractors"]}
        }
        equal = {number for number, counts in theirs.items() if found.get(number) == counts}
        report.append(f"{provider} ({flavor}): {len(equal)} of {len(theirs)} bodies give the normalised counts")
        for number in sorted(theirs.keys() - equal):
            what = (
                f"{found[number]}, not {theirs[number]}" if number in found else reasons.get(number, "no usage in it")
            )
            report.append(f"  body {number}: {what}")
        assert len(theirs) > 20
        assert theirs.keys() == equal, report
    others = [entry["body"] for entry in entries if natural_of(entry["body"]) not in NATURAL.values()]
    report.append(f"{len(others)} bodies are of other shapes")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(report) + "\n")
    every = {number: {counts_of(way["usage"]) for way in entry["extracted"]} for number, entry in enumerate(entries)}
    assert [number for number, counts in found.items() if counts not in every[number]] == []
    # Cohere's bodies, with billed units besides tokens, and entries without usage
    assert len(entries) - len(found) == 8


counts = st.integers(0, 10**9)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Body, int]:
    """A usage body, and all of its tokens."""
    a, b, c, d = draw(counts), draw(counts), draw(counts), draw(counts)
    return draw(
        st.sampled_from(
            [
                (
                    {
                        "input_tokens": a, "cache_creation_input_tokens": b, "cache_read_input_tokens": c,
                        "output_tokens": d,
                    },
                    a + b + c + d,
                ),
                (
                    {
                        "prompt_tokens": a + b, "completion_tokens": c, "total_tokens": a + b + c,
                        "prompt_tokens_details": {"cached_tokens": b},
                    },
                    a + b + c,
                ),
                (
                    {
                        "promptTokenCount": a + b, "cachedContentTokenCount": b, "candidatesTokenCount": c,
                        "thoughtsTokenCount": d,
                    },
                    a + b + c + d,
                ),
            ]
        )
    )  # fmt: skip


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(bodies(), st.booleans(), st.integers(1, 3)), min_size=1, max_size=8))
def test_tokens_of_a_file_are_stored_or_listed_as_rejected_and_repeats_count_once(new_home, calls):
    home = new_home()
    lines = []
    for number, ((body, _), has_time, copies) in enumerate(calls):
        line = record(body, number, **({} if has_time else {"timestamp": None}))
        lines += [line] * (copies if has_time else 1)
    home.land({"records.jsonl": "\n".join(lines)})
    home.ingest()
    ((stored,),) = home.query(f"SELECT coalesce(sum({KINDS.replace(', ', ' + ')}), 0)::bigint FROM raw.requests")
    listed = sum(int(reason.split("(")[1].split(" ")[0]) for _, _, reason, _, _ in home.rejected())
    assert stored == sum(total for (_, total), has_time, _ in calls if has_time)
    assert listed == sum(total for (_, total), has_time, _ in calls if not has_time)


def test_a_record_without_a_time_is_rejected_with_its_tokens_and_never_dated_by_guess(home):
    flat = {
        "model": "gemini-3.1-pro-preview",
        "ok": True,
        "prompt": 883,
        "cached": 3,
        "candidates": 36,
        "thoughts": 430,
    }
    home.land({"usage.jsonl": json.dumps(flat) + "\n"})
    home.ingest()
    assert [row[2] for row in home.rejected()] == ["no timestamp (1349 tokens)"]
    assert home.ledger("usage.jsonl")["format"] == "experiment_records"


def test_a_flat_record_with_a_time_counts_thoughts_as_output(home):
    flat = {"model": "gemini-2.5-pro", "prompt": 883, "cached": 3, "candidates": 36, "thoughts": 430}
    assert kinds(home, json.dumps(flat | {"timestamp": "2026-06-21T08:00:00Z"})) == [(880, 0, 0, 3, 466)]


def test_a_file_that_grew_has_the_same_records(models):
    lines = [record({"input_tokens": 1, "output_tokens": 2}, number) for number in range(3)]
    spaced = json.dumps(json.loads(lines[0]), indent=None, separators=(", ", ": "))
    files = {"a.jsonl": lines[0], "b.jsonl": "\n".join(lines), "c.jsonl": spaced}
    with models.over(files, "marts.requests") as connection:
        found = connection.execute("SELECT count(*), sum(total_tokens)::bigint FROM marts.requests").fetchall()
    assert found == [(3, 9)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (record({"input_tokens": -1, "output_tokens": 2}), "input tokens is negative, expected a count"),
        (
            record({"prompt_tokens": 5, "prompt_tokens_details": {"audio_tokens": 6}}),
            "more cached audio and image tokens",
        ),
        (record({"words": 3}), "a usage body of no known provider"),
        ('{"run_id": "run", "usage_raw": {', "not a JSON object"),
        ("[1]", "not a JSON object"),
    ],
)
def test_a_bad_record_is_rejected_and_the_others_load(home, line, reason):
    good = record({"input_tokens": 1, "output_tokens": 2}, 9)
    assert kinds(home, good, line) == [(1, 0, 0, 0, 2)]
    ((at, _, why, _, value),) = home.rejected()
    assert (at, value) == (2, "")
    assert why.startswith(reason)


def test_calls_without_a_usage_body_are_ignored(home):
    home.land({"records.jsonl": "\n".join([record({"input_tokens": 1, "output_tokens": 2}), record(None), record({})])})
    home.ingest()
    ledger = home.ledger("records.jsonl")
    assert (ledger["rows_read"], ledger["rows_loaded"], ledger["rows_ignored"]) == (3, 1, 2)


def test_a_record_that_names_its_key_keeps_it_and_a_secret_is_not_stored(home):
    body = {"input_tokens": 1, "output_tokens": 2}
    secret = "sk-ant-api03-abcdefghij"
    home.land(
        {
            "records.jsonl": "\n".join(
                [record(body, 1, api_key="team", workspace="default"), record(body, 2, api_key=secret)]
            )
        }
    )
    home.ingest()
    (named, hidden) = home.query("SELECT api_key, workspace FROM raw.requests ORDER BY requested_at")
    assert named == ("team", "Default")
    assert hidden[0].startswith("key-")


@pytest.mark.parametrize(
    "text",
    [
        '{"model": "m", "cost": 1}\n',
        '{"usage_raw": {"input_tokens": 1}}\n',
        '{"model": "m", "prompt": "a question", "candidates": []}\n',
        "[]\n",
        "usage_raw\n",
    ],
)
def test_other_json_is_not_taken_for_records(tmp_path, text):
    path = tmp_path / "file"
    path.write_text(text)
    assert experiment_records.recognise(Probe.of(path)) is None


def test_a_home_of_an_earlier_version_gains_the_columns_of_the_account(home):
    body = {"input_tokens": 1, "output_tokens": 2}
    home.query("ALTER TABLE raw.requests DROP COLUMN api_key")
    # an earlier version was another process
    warehouse.release_lock(home.settings)
    assert kinds(home, record(body, api_key="team")) == [(1, 0, 0, 0, 2)]
    assert home.query("SELECT api_key FROM raw.requests") == [("team",)]


def iteration(kind: str, read: int, output: int, **fields: Any) -> Body:
    return {"type": kind, "input_tokens": 1, "cache_read_input_tokens": read, "output_tokens": output} | fields


def test_calls_inside_of_a_response_are_calls_beside_it_and_its_own_iterations_are_its_counts(home):
    inside = [
        iteration("message", 100, 20),
        iteration("advisor_message", 0, 300, model="claude-opus-4-7", cache_creation_input_tokens=7),
        iteration("compaction", 4_000, 50),
        iteration("message", 100, 30),
    ]
    usage = {"input_tokens": 2, "cache_read_input_tokens": 200, "output_tokens": 50, "service_tier": "batch"}
    home.land({"records.jsonl": record(usage | {"iterations": inside, "speed": "fast"}) + "\n"})
    home.ingest()
    assert home.query(f"SELECT model_version, usage_type, speed, {KINDS} FROM raw.requests ORDER BY request_key") == [
        ("claude-haiku-4-5-20251001", "batch", "fast", 2, 0, 0, 200, 50),
        ("claude-opus-4-7", "batch", "", 1, 7, 0, 0, 300),
        ("claude-haiku-4-5-20251001", "batch", "fast", 1, 0, 0, 4_000, 50),
    ]


def test_attempts_that_a_model_declined_are_calls_of_that_model_where_they_had_output(home):
    inside = [
        iteration("message", 0, 0, model="claude-fable-5"),
        iteration("message", 9, 4, model="claude-opus-5"),
        iteration("fallback_message", 100, 20, model="claude-opus-4-8"),
    ]
    usage = {"input_tokens": 1, "cache_read_input_tokens": 100, "output_tokens": 20, "iterations": inside}
    home.land({"records.jsonl": record(usage, model_version="claude-fable-5") + "\n"})
    home.ingest()
    assert home.query(f"SELECT model_version, {KINDS} FROM raw.requests ORDER BY request_key") == [
        ("claude-opus-4-8", 1, 0, 0, 100, 20),
        ("claude-opus-5", 1, 0, 0, 9, 4),
    ]


@pytest.mark.parametrize("bad", [{"output_tokens": -1}, {"cache_creation": {"ephemeral_1h_input_tokens": "x"}}])
def test_a_bad_count_inside_of_a_response_rejects_its_record_whole_and_once(home, bad):
    usage = {"input_tokens": 2, "output_tokens": 5, "iterations": [iteration("compaction", 1, 2) | bad] * 2}
    rows = kinds(home, record(usage), record({"input_tokens": 1, "output_tokens": 1}, 1))
    assert rows == [(1, 0, 0, 0, 1)]
    ((line, _, reason, *_),) = home.rejected()
    assert line == 1
    assert reason.startswith("iterations: a count is")
