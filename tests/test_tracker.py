"""The tracker that an application imports: what it writes about a call, what it never writes, and no lost events.

Belongs here: events and the session file on the disk. Does not belong here: reading them into the warehouse, and the
cost of tracking (bench/tracker.py; a short run is tested here).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import servers
from commands import CHECKOUT
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Redis
from token_analytics_tracker import TokenTracker
from token_analytics_tracker.sinks import FolderSink

from pipeline import tracker as tracker_of_the_package

ANTHROPIC = {
    "id": "msg_01",
    "type": "message",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "CANARY"}],
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 99,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 12,
        "server_tool_use": {"web_search_requests": 2},
        "service_tier": "batch",
        "inference_geo": "us",
        "note": "CANARY",
    },
}
OPENAI_CHAT = {
    "id": "chatcmpl-1",
    "model": "gpt-5-2025-08-07",
    "service_tier": "priority",
    "choices": [{"message": {"content": "CANARY"}}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 20},
    },
}
OPENAI_RESPONSES = {
    "id": "resp_1",
    "model": "gpt-5-2025-08-07",
    "instructions": "CANARY",
    "output": [{"content": [{"text": "CANARY"}]}],
    "usage": {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 150,
    },
}
GEMINI = {
    "responseId": "g-1",
    "modelVersion": "gemini-2.5-pro",
    "candidates": [{"content": {"parts": [{"text": "CANARY"}]}}],
    "usageMetadata": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 117,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
        "trafficType": "ON_DEMAND",
    },
}
RESPONSES = {"anthropic": ANTHROPIC, "chat": OPENAI_CHAT, "responses": OPENAI_RESPONSES, "gemini": GEMINI}
NUMBERS = {
    "anthropic": {k: v for k, v in ANTHROPIC["usage"].items() if not isinstance(v, str)},  # type: ignore[attr-defined]
    "chat": OPENAI_CHAT["usage"],
    "responses": OPENAI_RESPONSES["usage"],
    "gemini": {k: v for k, v in GEMINI["usageMetadata"].items() if isinstance(v, int)},  # type: ignore[attr-defined]
}
IDS = {
    "anthropic": ("msg_01", "claude-sonnet-4-5-20250929"),
    "chat": ("chatcmpl-1", "gpt-5-2025-08-07"),
    "responses": ("resp_1", "gpt-5-2025-08-07"),
    "gemini": ("g-1", "gemini-2.5-pro"),
}


def as_object(node: Any) -> Any:
    if isinstance(node, dict):
        return SimpleNamespace(**{name: as_object(value) for name, value in node.items()})
    return [as_object(one) for one in node] if isinstance(node, list) else node


def events(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("events-*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def event(folder: Path) -> dict[str, Any]:
    (one,) = events(folder)
    return one


@pytest.mark.parametrize("shape", RESPONSES)
@pytest.mark.parametrize("kind", ["dictionary", "object"])
def test_a_response_is_written_with_the_numbers_of_its_usage_and_who_answered(
    tmp_path: Path, shape: str, kind: str
) -> None:
    response = RESPONSES[shape] if kind == "dictionary" else as_object(RESPONSES[shape])
    event_id = TokenTracker("p", tmp_path).track(conversation_id="c-1", response=response)
    written = event(tmp_path)
    assert written["schema"] == "token-analytics-tracker/1"
    assert (written["event_id"], written["conversation_id"], written["provider"]) == (event_id, "c-1", "p")
    words = ("service_tier", "inference_geo", "speed")
    assert {name: value for name, value in written["usage"].items() if name not in words} == NUMBERS[shape]
    assert (written["response_id"], written["model"]) == IDS[shape]
    assert "CANARY" not in next(tmp_path.iterdir()).read_text()


def test_the_words_that_change_a_price_are_written(tmp_path: Path) -> None:
    tracker = TokenTracker("p", tmp_path)
    tracker.track(conversation_id="c", response=ANTHROPIC)
    tracker.track(conversation_id="c", response=OPENAI_CHAT)
    first, second = (one["usage"] for one in events(tmp_path))
    assert (first["service_tier"], first["inference_geo"], second["service_tier"]) == ("batch", "us", "priority")


def test_objects_of_pydantic_give_also_the_fields_beyond_their_class(tmp_path: Path) -> None:
    from pydantic import BaseModel, ConfigDict

    class Usage(BaseModel):
        model_config = ConfigDict(extra="allow")
        prompt_tokens: int
        completion_tokens: int
        prompt_tokens_details: dict[str, int] | None = None

    class Completion(BaseModel):
        id: str
        model: str
        usage: Usage

    usage = Usage.model_validate({"prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 3})
    TokenTracker("p", tmp_path).track(conversation_id="c", response=Completion(id="i", model="m", usage=usage))
    assert event(tmp_path)["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 3}


def test_a_bare_usage_body_and_the_last_event_of_a_stream_are_taken_too(tmp_path: Path) -> None:
    tracker = TokenTracker("p", tmp_path)
    tracker.track(conversation_id="c", response=OPENAI_CHAT["usage"])
    tracker.track(conversation_id="c", response={"type": "response.completed", "response": OPENAI_RESPONSES})
    assert [one["usage"] for one in events(tmp_path)] == [NUMBERS["chat"], NUMBERS["responses"]]
    assert events(tmp_path)[1]["response_id"] == "resp_1"


def test_plain_counts_are_written_as_the_disjoint_body_that_anthropic_gives(tmp_path: Path) -> None:
    TokenTracker("openai", tmp_path).track(
        conversation_id="c",
        input_tokens=1,
        output_tokens=2,
        cache_read_tokens=3,
        cache_write_5m_tokens=4,
        cache_write_1h_tokens=5,
        web_search_count=6,
        cost_usd=Decimal("0.0000001"),
    )
    assert event(tmp_path)["cost_usd"] == "0.0000001"
    assert event(tmp_path)["usage"] == {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 9,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
        "server_tool_use": {"web_search_requests": 6},
    }


@pytest.mark.parametrize(
    "stamp",
    [
        datetime(2026, 1, 31, 23, 59, 59, 5, tzinfo=UTC),
        datetime(2026, 1, 31, 23, 59, 59, 5),
        datetime(2026, 2, 1, 1, 59, 59, 5, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_the_time_of_a_call_is_written_in_utc(tmp_path: Path, stamp: datetime) -> None:
    TokenTracker("p", tmp_path).track(conversation_id="c", input_tokens=1, timestamp=stamp)
    assert event(tmp_path)["timestamp"] == "2026-01-31T23:59:59.000005Z"


def test_only_metadata_that_was_allowed_is_written(tmp_path: Path) -> None:
    metadata = {"project": "shop", "prompt": "CANARY", "team": ["CANARY"], "version": 2, "colour": "CANARY"}
    TokenTracker("p", tmp_path).track(conversation_id="c", response=ANTHROPIC, metadata=metadata)
    assert (event(tmp_path)["project"], event(tmp_path)["metadata"]) == ("shop", {"version": 2})
    TokenTracker("p", tmp_path / "own", metadata_keys=["colour"]).track(
        conversation_id="c", input_tokens=1, metadata={"project": "x", "colour": "red"}
    )
    assert event(tmp_path / "own")["metadata"] == {"colour": "red"}


@pytest.mark.parametrize(
    "secret",
    ["sk-ant-api03-abcdefgh", "sk-proj-12345678", "AIzaSyA1234567890abcdefghijklmnopqrstuv", "Bearer abc.def.ghi"],
)
def test_what_looks_like_a_secret_is_written_as_a_fingerprint_wherever_it_stands(tmp_path: Path, secret: str) -> None:
    tracker = TokenTracker("p", tmp_path, api_key=secret)
    tracker.track(conversation_id=secret, user_id=secret, input_tokens=1, metadata={"project": f"for {secret}"})
    tracker.track_conversation("c", 1, 1, metadata={"api_key": secret})
    tracker.save_session()
    assert [one["api_key"] for one in events(tmp_path)] == [
        "key-" + hashlib.sha256(secret.encode()).hexdigest()[:12]
    ] * 2
    assert not any(secret in path.read_text() for path in tmp_path.iterdir())


def test_a_session_file_holds_the_events_of_its_conversations_under_the_same_ids(tmp_path: Path) -> None:
    tracker = TokenTracker("anthropic", tmp_path, api_key="backend")
    metadata = {
        "user_id": "u",
        "model": "claude-haiku-4-5",
        "session_id": "s",
        "cache_read_tokens": 7,
        "text": "CANARY",
    }
    ids = [tracker.track_conversation(f"c-{i}", 10, 5, 0.1, metadata) for i in range(3)]
    tracker.track(conversation_id="other", input_tokens=1)
    path = tracker.save_session()
    assert path == tracker.save_session()
    assert path is not None
    session = json.loads(path.read_text())
    assert session["schema"] == "token-analytics-tracker-session/1"
    assert [one["event_id"] for one in session["events"]] == ids
    assert session["events"] == [one for one in events(tmp_path) if one["conversation_id"] != "other"]
    assert session["totals"] == {
        "input_tokens": 30,
        "output_tokens": 15,
        "cache_read_input_tokens": 21,
        "cache_creation_input_tokens": 0,
        "conversations": 3,
        "cost_usd": "0.3",
    }
    one = session["events"][0]
    assert (one["user_id"], one["model"], one["session_id"], one["api_key"]) == (
        "u", "claude-haiku-4-5", "s", "backend",
    )  # fmt: skip
    assert "CANARY" not in path.read_text()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


class Hostile:
    """Raises at every access."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("CANARY")

    def __str__(self) -> str:
        raise RuntimeError("CANARY")


@pytest.mark.parametrize(
    "wrong",
    [
        {"response": Hostile()}, {"response": object()}, {"response": "CANARY"}, {"response": {}},
        {"response": {"usage": {"note": "CANARY"}}}, {}, {"input_tokens": -1}, {"input_tokens": "many"},
        {"input_tokens": 1.5}, {"input_tokens": 1, "user_id": Hostile()}, {"input_tokens": 1, "metadata": 7},
        {"input_tokens": 1, "timestamp": "yesterday"}, {"input_tokens": 1, "timestamp": float("nan")},
        {"input_tokens": float("inf")}, {"response": {"usage": {"input_tokens": 10**5000}}},
    ],
)  # fmt: skip
def test_a_wrong_call_is_counted_and_logged_once_and_never_raises(
    tmp_path: Path, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    tracker = TokenTracker("p", tmp_path)
    with caplog.at_level(logging.WARNING):
        assert [tracker.track(conversation_id="c", **wrong) for _ in range(3)] == [""] * 3
    assert tracker.errors == 3
    assert len(caplog.records) == 1
    assert "CANARY" not in caplog.text
    assert tracker.track(conversation_id="c", input_tokens=1)
    assert len(events(tmp_path)) == 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(response=anything, other=anything)
def test_whatever_is_passed_in_nothing_is_raised_and_each_line_is_one_event(
    tmp_path_factory: pytest.TempPathFactory, response: Any, other: Any
) -> None:
    folder = tmp_path_factory.mktemp("any")
    tracker = TokenTracker("p", folder)
    calls: list[dict[str, Any]] = [
        {"response": response}, {"response": {"usage": response, "id": other, "model": other}},
        {"response": {"usage": {"input_tokens": 1, "x": response}, "service_tier": other}},
        {"input_tokens": response}, {"input_tokens": 1, "metadata": {"project": response}, "cost_usd": other},
        {"input_tokens": 1, "user_id": other, "timestamp": response},
    ]  # fmt: skip
    acknowledged = [one for call in calls if (one := tracker.track(conversation_id=other, **call))]
    acknowledged += [one] if (one := tracker.track_conversation(other, response, other, other, response)) else []
    assert [one["event_id"] for one in events(folder)] == acknowledged
    assert len(acknowledged) + tracker.errors == len(calls) + 1


def test_a_folder_that_cannot_be_made_is_an_error_of_each_call_and_of_no_constructor(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tracker = TokenTracker("p", tmp_path / "file" / "below")
    assert tracker.track(conversation_id="c", input_tokens=1) == ""
    assert tracker.save_session() is None
    assert tracker.errors == 2


def test_files_are_begun_anew_at_their_size_and_at_midnight(tmp_path: Path) -> None:
    tracker = TokenTracker("p", tmp_path / "size", rotate_bytes=1000)
    ids = [tracker.track(conversation_id="c", response=ANTHROPIC) for _ in range(20)]
    sizes = [path.stat().st_size for path in (tmp_path / "size").iterdir()]
    assert len(sizes) > 5
    assert sum(size < 1000 for size in sizes) <= 1
    assert max(sizes) < 2000
    assert {one["event_id"] for one in events(tmp_path / "size")} == set(ids)
    sink = FolderSink(tmp_path / "day")
    for day in ("2026-01-31", "2026-01-31", "2026-02-01"):
        sink.write(b"{}\n", day)
    assert {path.name[:17]: path.read_bytes() for path in (tmp_path / "day").iterdir()} == {
        "events-2026-01-31": b"{}\n{}\n",
        "events-2026-02-01": b"{}\n",
    }


def test_events_go_on_in_a_new_file_where_somebody_deleted_the_open_one(tmp_path: Path) -> None:
    tracker = TokenTracker("p", tmp_path)
    tracker.track(conversation_id="before", input_tokens=1)
    next(tmp_path.iterdir()).unlink()
    tracker.track(conversation_id="after", input_tokens=1)
    assert event(tmp_path)["conversation_id"] == "after"


def test_half_an_event_on_a_full_disk_is_taken_back_and_tracking_goes_on_when_there_is_room(tmp_path: Path) -> None:
    tracker = TokenTracker("p", tmp_path)
    first = tracker.track(conversation_id="first", input_tokens=1)
    (path,) = tmp_path.iterdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, limits[1]))
        assert tracker.track(conversation_id="second", input_tokens=1) == ""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    third = tracker.track(conversation_id="third", input_tokens=1)
    assert [one["event_id"] for one in events(tmp_path)] == [first, third]
    assert tracker.errors == 1


def test_a_disk_that_hangs_holds_up_other_threads_no_longer_than_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("token_analytics_tracker.sinks.LOCK_TIMEOUT_SECONDS", 0.05)
    tracker = TokenTracker("p", tmp_path)
    hangs, released = threading.Event(), threading.Event()

    def hang() -> None:
        with tracker._folder._lock:
            hangs.set()
            released.wait(20)

    thread = threading.Thread(target=hang)
    thread.start()
    hangs.wait(20)
    assert tracker.track(conversation_id="c", input_tokens=1) == ""
    released.set()
    thread.join()
    assert tracker.track(conversation_id="c", input_tokens=1)
    assert tracker.errors == 1


def test_the_child_of_a_fork_writes_a_file_of_its_own_under_ids_of_its_own(tmp_path: Path) -> None:
    tracker = TokenTracker("p", tmp_path)
    tracker.track(conversation_id="parent", input_tokens=1)
    child = os.fork()
    if not child:
        acknowledged = tracker.track(conversation_id="child", input_tokens=1)
        os._exit(0 if acknowledged else 1)
    assert os.waitpid(child, 0)[1] == 0
    tracker.track(conversation_id="parent", input_tokens=1)
    written = events(tmp_path)
    assert len({one["event_id"] for one in written}) == 3
    assert sorted(len(path.read_text().splitlines()) for path in tmp_path.iterdir()) == [1, 2]


def test_every_acknowledged_event_arrives_once_while_its_processes_are_killed_and_restarted() -> None:
    command = [sys.executable, "bench/tracker.py", "--events", "20000", "--kills", "8", "--no-cost"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| events that arrived twice | 0 | 0 |" in done.stdout


def test_what_the_sink_refuses_goes_to_the_folder_under_the_same_id(tmp_path: Path) -> None:
    class Sink:
        taken: list[bytes] = []  # noqa: RUF012

        def write(self, line: bytes, day: str) -> None:
            if len(self.taken) == 1:
                raise ConnectionError(day)
            self.taken.append(line)

    tracker = TokenTracker("p", tmp_path, sink=Sink())
    first, second = (tracker.track(conversation_id="c", input_tokens=1) for _ in range(2))
    assert [json.loads(line)["event_id"] for line in Sink.taken] == [first]
    assert event(tmp_path)["event_id"] == second
    assert (tracker.fallbacks, tracker.errors) == (1, 0)


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with servers.redis_server(tmp_path_factory.mktemp("redis")) as started:
        yield started


def test_threads_and_forks_fill_a_redis_stream_and_the_folder_takes_over_when_it_is_gone(
    tmp_path: Path, redis_server: Redis
) -> None:
    import redis
    from token_analytics_tracker.sinks import RedisSink

    tracker = TokenTracker("p", tmp_path / "events", sink=RedisSink(redis_server.url))
    acknowledged: list[str] = []

    def track() -> None:
        for _ in range(50):
            acknowledged.append(tracker.track(conversation_id="c", response=ANTHROPIC))  # noqa: PERF401

    threads = [threading.Thread(target=track) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child = os.fork()
    if not child:
        os._exit(0 if tracker.track(conversation_id="child", input_tokens=1) else 1)
    assert os.waitpid(child, 0)[1] == 0
    client = redis.Redis.from_url(redis_server.url)
    entries = [json.loads(fields[b"event"]) for _, fields in client.xrange("token-analytics:events")]
    assert len({one["event_id"] for one in entries}) == len(entries) == 401
    assert set(acknowledged) == {one["event_id"] for one in entries if one["conversation_id"] == "c"}
    assert not (tmp_path / "events").exists()
    client.close()
    redis_server.kill()
    began = time.monotonic()
    later = [tracker.track(conversation_id="later", input_tokens=1) for _ in range(100)]
    assert time.monotonic() - began < 2
    assert [one["event_id"] for one in events(tmp_path / "events")] == later
    assert (tracker.fallbacks, tracker.errors) == (100, 0)


def test_the_whole_package_gives_the_tracker_again() -> None:
    assert tracker_of_the_package.TokenTracker is TokenTracker


def test_the_usage_bodies_of_many_providers_are_written_number_for_number(tmp_path: Path) -> None:
    path = CHECKOUT.parent / "shared" / "data" / "genai_prices" / "usages.json"
    if not path.exists():
        pytest.skip("../shared/data is not there")

    def numbers(node: dict[str, Any]) -> dict[str, Any]:
        kept = {name: numbers(value) if isinstance(value, dict) else value for name, value in node.items()}
        return {
            name: value
            for name, value in kept.items()
            if (value and type(value) is dict) or type(value) in (int, float)
        }

    def iteration(node: dict[str, Any]) -> dict[str, Any]:
        return numbers(node) | {name: node[name] for name in ("type", "model") if name in node}

    bodies = [entry["body"] for entry in json.loads(path.read_text())]
    tracker = TokenTracker("p", tmp_path)
    stated = [(body, body.get("usage") or body.get("usageMetadata")) for body in bodies]
    tracked = [usage for body, usage in stated if tracker.track(conversation_id="c", response=body)]
    assert [one["usage"] for one in events(tmp_path)] == [
        numbers(usage)
        | {name: usage[name] for name in ("service_tier", "inference_geo") if name in usage}
        | ({"service_tier": usage["serviceTier"]} if "serviceTier" in usage else {})
        | ({"iterations": [iteration(each) for each in usage["iterations"]]} if usage.get("iterations") else {})
        for usage in tracked
    ]
    assert len(tracked) == sum(bool(usage) for _, usage in stated) == len(bodies) - tracker.errors
