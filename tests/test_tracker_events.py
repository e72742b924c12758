"""Events of the tracker in the warehouse: every token once, whichever of its files report it.

Belongs here: the way from a tracked call to its row. Does not belong here: the tracker's files (test_tracker) and
events that others wrote in its shape (test_call_logs).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from conftest import Home
from token_analytics_tracker import TokenTracker

KINDS = (
    "input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read, "
    "output_tokens"
)
BODIES = Path(__file__).parents[2] / "shared" / "data" / "genai_prices" / "usages.json"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANTHROPIC = {
    "id": "msg_1",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"text": "CANARY"}],
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 99,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 12,
        "service_tier": "batch",
    },
}
OPENAI = {
    "id": "resp_1",
    "model": "gpt-5-2025-08-07",
    "output": "CANARY",
    "usage": {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20},
    },
}
GEMINI = {
    "responseId": "g-1",
    "modelVersion": "gemini-2.5-pro",
    "text": "CANARY",
    "usageMetadata": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 7,
    },
}


@pytest.fixture
def tracker(home: Home) -> Iterator[TokenTracker]:
    tracker = TokenTracker("anthropic", home.settings.landing / "events", api_key="backend", user_id="ann")
    yield tracker
    assert tracker.errors == 0
    tracker.close()


def stored(home: Home) -> list[tuple[int, ...]]:
    """The tokens of each request, which may be in several files."""
    return [tuple(row) for row in home.query(f"SELECT DISTINCT ON (request_key) {KINDS} FROM raw.requests")]


def test_the_tokens_of_each_providers_response_arrive_as_disjoint_kinds(home: Home, tracker: TokenTracker) -> None:
    tracker.track(conversation_id="c", response=ANTHROPIC, timestamp=AT, metadata={"project": "shop"})
    tracker.track(conversation_id="c", response=OPENAI, timestamp=AT, provider="openai")
    tracker.track(conversation_id="c", response=GEMINI, timestamp=AT, provider="gemini")
    tracker.track(conversation_id="c", provider="openai", input_tokens=5, output_tokens=6, cache_read_tokens=7)
    home.ingest()
    assert sorted(stored(home)) == [(3, 10, 20, 99, 12), (5, 0, 0, 7, 6), (40, 0, 0, 60, 50), (60, 0, 0, 40, 17)]
    assert home.query(
        "SELECT source_format, session_id, requested_at, model_version, api_key, user_id, project, usage_type "
        "FROM raw.requests WHERE response_id = 'msg_1'"
    ) == [("tracker_events", "c", AT.replace(tzinfo=None), ANTHROPIC["model"], "backend", "ann", "shop", "batch")]


def test_an_event_counts_once_from_a_grown_file_a_copy_and_its_sessions_file(home: Home, tracker: TokenTracker) -> None:
    for number in range(5):
        tracker.track_conversation("c", 10 + number, 1, 0.01, {"model": "claude-haiku-4-5"})
        home.ingest()
    session = tracker.save_session()
    assert session is not None
    (events,) = (home.settings.landing / "events").glob("events-*.jsonl")
    home.land({"copy.txt": events.read_bytes(), "session.json.gz": gzip.compress(session.read_bytes())})
    home.build()
    assert home.query("SELECT count(*), sum(total_tokens) FROM marts.requests") == [(5, 65)]
    assert sorted(stored(home)) == [(10 + number, 0, 0, 0, 1) for number in range(5)]
    ledger = home.ledger(f"events/{session.name}")
    assert (ledger["format"], ledger["rows_read"], ledger["rows_loaded"]) == ("tracker_events", 5, 5)
    assert home.ledger("session.json.gz")["rows_loaded"] == 5


def test_a_sessions_file_alone_gives_all_of_its_tokens_however_it_is_formatted(home: Home, tmp_path: Path) -> None:
    tracker = TokenTracker("anthropic", tmp_path)
    for number in range(2000):
        tracker.track_conversation(f"c-{number}", number, 1, metadata={"cache_read_tokens": 5})
    session = tracker.save_session()
    assert session is not None
    content = json.loads(session.read_text())
    home.land(
        {
            "as_it_was.json": session.read_bytes(),
            "one_line.json": json.dumps(content),
            "sorted.json": json.dumps(content, sort_keys=True, indent=8),
        }
    )
    home.ingest()
    for name in ("as_it_was.json", "one_line.json", "sorted.json"):
        assert (home.ledger(name)["status"], home.ledger(name)["rows_loaded"]) == ("loaded", 2000)
    assert [sum(column) for column in zip(*stored(home), strict=True)] == [1999 * 1000, 0, 0, 10_000, 2000]


def test_a_bad_event_of_a_session_is_rejected_by_its_number_and_the_rest_loads(
    home: Home, tracker: TokenTracker
) -> None:
    for _ in range(3):
        tracker.track_conversation("c", 1, 1)
    session = tracker.save_session()
    assert session is not None
    content = json.loads(session.read_text())
    del content["events"][1]["timestamp"]
    content["events"].append("CANARY")
    home.land({"edited.json": json.dumps(content), "cut.json": session.read_bytes()[:-20]})
    home.ingest()
    assert home.rejected() == [(2, 0, "no timestamp (2 tokens)", "", ""), (4, 0, "not a JSON object", "", "")]
    ledger = home.ledger("edited.json")
    assert (ledger["rows_read"], ledger["rows_loaded"], ledger["rows_rejected"]) == (4, 2, 2)
    assert home.ledger("cut.json")["status"] == "failed"
    assert "save the session again" in home.ledger("cut.json")["message"]


def test_what_the_caller_believes_to_have_paid_is_kept_beside_the_call_and_prices_nothing(
    home: Home, tracker: TokenTracker
) -> None:
    for cost in ("0.000000000001", 12.5, None):
        tracker.track(conversation_id="c", input_tokens=1, cost_usd=cost, timestamp=AT)
    events = [
        json.dumps(
            {
                "event_id": f"e-{n}",
                "timestamp": AT.isoformat(),
                "model": "m",
                "session_id": "s",
                "usage": {"input_tokens": 1, "output_tokens": 1},
                "cost_usd": cost,
            }
        )
        for n, cost in enumerate((1e-5, -1, "much"))
    ]
    home.land({"others.jsonl": "\n".join(events)})
    assert home.ingest().rows_rejected == 0
    costs = home.query("SELECT logged_cost_usd FROM raw.requests ORDER BY logged_cost_usd NULLS LAST")
    assert costs == [(Decimal("0.000000000001"),), (Decimal("0.00001"),), (Decimal("12.5"),), *[(None,)] * 3]


def test_half_an_event_that_a_kill_left_is_rejected_and_the_rest_loads(home: Home, tracker: TokenTracker) -> None:
    for _ in range(3):
        tracker.track(conversation_id="c", input_tokens=1)
    (events,) = (home.settings.landing / "events").iterdir()
    home.land({"torn.jsonl": events.read_bytes()[:-30]})
    home.ingest()
    ledger = home.ledger("torn.jsonl")
    assert (ledger["rows_read"], ledger["rows_loaded"], ledger["rows_rejected"]) == (3, 2, 1)
    assert len(stored(home)) == 3


def test_no_text_beyond_the_fields_of_an_event_is_taken_from_events_and_sessions(
    home: Home, tracker: TokenTracker
) -> None:
    tracker.track_conversation("c", 1, 2)
    session = tracker.save_session()
    assert session is not None
    content = json.loads(session.read_text())
    event = content["events"][0]
    event |= {"prompt": "CANARY", "messages": ["CANARY"], "metadata": {"note": "CANARY"}}
    event["usage"] |= {"text": "CANARY", "details": {"text": "CANARY"}}
    content |= {"note": "CANARY", "totals": {"note": "CANARY"}}
    home.land({"session.json": json.dumps(content), "events.jsonl": json.dumps(event) + "\n"})
    home.ingest()
    assert [home.ledger(name)["rows_loaded"] for name in ("session.json", "events.jsonl")] == [1, 1]
    assert "CANARY" not in repr(home.tables("raw", "ingest"))
    private = [path for path in home.root.rglob("*") if path.is_file() and home.settings.landing not in path.parents]
    assert private
    assert not any(b"CANARY" in path.read_bytes() for path in private)


def test_what_the_tracker_leaves_out_of_a_usage_body_changes_no_count(home: Home, tracker: TokenTracker) -> None:
    if not BODIES.exists():
        pytest.skip("../shared/data is not there")
    whole = []
    for number, entry in enumerate(json.loads(BODIES.read_text())):
        body = entry["body"]
        if tracker.track(conversation_id=f"{number}", response=body, timestamp=AT):
            usage = body.get("usage") or body["usageMetadata"]
            whole.append({"event_id": f"w-{number}", "timestamp": AT.isoformat(), "provider": "anthropic"})
            whole[-1] |= {"conversation_id": f"whole-{number}", "usage": usage}
    tracker.errors = 0  # of the bodies without usage
    home.land({"whole.jsonl": "".join(json.dumps(event) + "\n" for event in whole)})
    home.ingest()
    # A call inside a response is a separate call.
    call = "replace(session_id, 'whole-', '') || coalesce(nullif(regexp_extract(request_key, '#.*'), ''), '')"
    kinds = home.query(f"SELECT {call} AS call, {KINDS} FROM raw.requests")
    assert len(kinds) == 2 * len({call for call, *_ in kinds}) > 1500
    assert len(set(kinds)) == len({call for call, *_ in kinds})
