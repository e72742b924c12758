"""A secret in place of a name is stored as a fingerprint, in any format and field, for keys of any provider.

Belongs here: shapes of secrets, and objects in place of names, planted in the text fields of each format. Does not
belong here: text that is never read (the canary of test_hostile), and messages of servers (test_pull, test_stream,
test_postgres).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import logs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Home
from rows import SESSION_COLUMNS, cost_csv, cost_row, session_row, transcript_line, usage_csv, usage_row

from pipeline.store import redaction

MARK = "SECRETcanary42"
SECRETS = (
    f"sk-ant-api03-{MARK}", f"sk-proj-{MARK}", f"AIzaSy{MARK}XX", f"xai-{MARK}", f"gsk_{MARK}", f"ghp_{MARK}",
    f"github_pat_{MARK}", f"AKIA{MARK}".upper(), f"ASIA{MARK}".upper(), f"hf_{MARK}", f"xoxb-123-{MARK}",
    f"sk_live_{MARK}", f"eyJhbGciOi.{MARK}.sig", f"Bearer {MARK}", f"glpat-{MARK}", f"team/sk-{MARK}",
    f"ABSK{MARK * 3}", f"bedrock-api-key-{MARK}", f"AQ.{MARK * 3}", f"pa-{MARK * 3}", f"lsv2_pt_{MARK}ab",
    f"tvly-dev-{MARK}",
)  # fmt: skip
NO_SECRETS = (
    "claude-sonnet-4-5-20250929", "task-force-alpha", "asia-northeast1", "asianmarketsresearch1", "hf_team",
    "risk-adjusted", "bearer", "0192f7a2-7d3e-7000-8a4b-9d3c1f2e5b6a", "msg_01XFDUDYJgAACzvnptvVoYEL",
    "us.anthropic.claude-3-5-sonnet-20241022-v2:0", "grok-4-fast-reasoning", "production-key-3",
    "jina-embeddings-v3", "pa-payments-team-of-the-north", "absk-reports", "aq.team", "dapi-gateway",
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_a_shape_of_a_secret_is_known(secret: str) -> None:
    assert MARK.lower() not in redaction.without_secrets(f"landing/{secret}.csv").lower()


@pytest.mark.parametrize("name", NO_SECRETS)
def test_a_name_is_no_secret(name: str) -> None:
    assert redaction.without_secrets(name) == name


def test_no_text_field_of_any_format_keeps_a_secret(home: Home) -> None:
    texts = (
        "session_id", "user_id", "api_key", "workspace", "project", "tags", "conversation_id", "model", "provider",
    )  # fmt: skip
    session = dict(zip(SESSION_COLUMNS.split(","), session_row().split(","), strict=True))
    called = ("model", "provider", "project", "user_id", "session_id", "api_key")
    spent = ("model", "user", "api_key", "session_id", "team_id", "end_user")
    usage, costs, sessions, transcript, events, spends, observations = ([] for _ in range(7))
    for number, secret in enumerate(SECRETS):
        usage += [usage_row(key=secret), usage_row(date=secret)]
        costs.append(cost_row().replace("alpha", secret))
        sessions.append(session | dict.fromkeys(texts, secret))
        line = json.loads(transcript_line("m1"))
        line |= {"cwd": f"/srv/{secret}", "sessionId": secret, "uuid": secret, "requestId": secret}
        line["message"] |= {"id": secret, "model": secret}
        line["message"]["usage"] |= {"service_tier": secret, "inference_geo": secret, "speed": secret}
        transcript.append(line)
        events.append(logs.event(400) | dict.fromkeys(called, secret) | {"event_id": secret})
        spends.append(logs.spend(100) | dict.fromkeys(spent, secret) | {"request_id": secret})
        observations.append(logs.observation(300, model=secret) | {"traceId": secret, "id": secret})
        home.land({f"{number}/{secret.replace('/', '-')}.csv": usage_csv(usage_row(key=str(number)))})
    home.land(
        {
            "usage.csv": usage_csv(*usage),
            "cost.csv": cost_csv(*costs),
            "sessions.jsonl": logs.lines(*sessions),
            "t.jsonl": logs.lines(*transcript),
            "tracker": logs.lines(*events),
            "litellm": logs.lines(*spends),
            "langfuse": logs.lines(*observations),
        }
    )
    summary = home.ingest()
    # In each format a row for each secret, and one whose date is a secret; and a file named after it.
    assert (summary.files_loaded, summary.rows_read) == (7 + len(SECRETS), 9 * len(SECRETS))
    assert summary.rows_rejected == len(SECRETS)
    assert home.query("SELECT count(*) > 20 FROM raw.requests WHERE starts_with(model_version, 'key-')") == [(True,)]
    for table, rows in home.tables("raw", "ingest").items():
        assert [value for row in rows for value in row if MARK.lower() in str(value).lower()] == [], table


def planted(entry: Any) -> Iterator[Any]:
    """Copies of a record, each with an object in place of one of the texts in it."""
    for key, value in entry.items() if isinstance(entry, dict) else enumerate(entry):
        replaced = [{"text": MARK}, [MARK]] if isinstance(value, str) else []
        for other in replaced or (planted(value) if isinstance(value, dict | list) else ()):
            copy = dict(entry) if isinstance(entry, dict) else list(entry)
            copy[key] = other
            yield copy


def test_an_object_in_place_of_a_name_is_no_name_in_any_format(home: Home) -> None:
    session = dict(zip(SESSION_COLUMNS.split(","), session_row().split(","), strict=True))
    session |= dict.fromkeys(("workspace", "project", "conversation_id", "provider", "context_window"), "n")
    answer = logs.answer(1) | {"cwd": "/u/shop", "requestId": "r", "agentId": "a"}
    answer["message"]["usage"] |= {"service_tier": "standard", "inference_geo": "us", "speed": "fast"}
    iterations = [{"type": "advisor_message", "model": "m", "input_tokens": 5, "output_tokens": 1}]
    answer["message"]["usage"]["iterations"] = iterations
    spend = logs.spend(1, end_user="e", session_id="s", model_group="g")
    spend["metadata"] |= {"user_api_key_alias": "k", "user_api_key_team_alias": "t"}
    spend["metadata"]["usage_object"] |= {"service_tier": "x", "inference_geo": "y", "speed": "z"}
    spend["metadata"]["usage_object"]["iterations"] = iterations
    named = {"gen_ai.response.id": "i", "gen_ai.conversation.id": "c", "user.id": "u"}
    observed = logs.observation(1, userId="u", sessionId="s")
    event = logs.event(1, project="p", response_id="r", id="i")
    event["usage"] |= {"service_tier": "x", "inference_geo": "y", "speed": "z", "iterations": iterations}
    record = {"run_id": "r", "usage_raw": event["usage"]} | without(event, "usage", "event_id", "id")
    rollout = [
        json.loads(line)
        for line in logs.lines(
            logs.meta("a"), logs.turn("m"), logs.tokens(9, 9, 1), logs.tokens(20, 11, 2)
        ).splitlines()
    ]
    pi = [json.loads(line) for line in logs.pi(logs.PI).splitlines()]
    result = {"uncached_input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": 0} | dict.fromkeys(
        ("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo", "speed"), "n"
    )
    day = {"starting_at": "2026-03-02T00:00:00Z", "ending_at": "2026-03-03T00:00:00Z"}
    bucket = {"start_time": 1772409600, "end_time": 1772496000}
    names = ("line_item", "project_id", "api_key_id", "user_id")
    cost = {"amount": {"value": 1, "currency": "usd"}} | dict.fromkeys(names, "n")
    opencode = json.loads(logs.opencode({"input": 5, "output": 7}))
    gemini = json.loads(logs.gemini(logs.GEMINI))
    for document in (opencode, gemini):
        document["messages"] += [copy for message in document["messages"] for copy in planted(message)]
        document |= {"directory": {"text": MARK}, "startTime": {"text": MARK}}
    opencode["info"] |= {"directory": {"text": MARK}, "model": {"id": {"text": MARK}, "providerID": [MARK]}}
    usage_page = {"data": [day | {"results": [result, *planted(result)]}], "has_more": False}
    costs_page = {"data": [bucket | {"results": [cost, *planted(cost)]}], "object": "page"}
    for name, entries in {
        "answers": [answer, *planted(answer)],
        "sessions": [session, *planted(session)],
        "spends": [spend, *planted(spend)],
        "spans": [logs.otlp(span, *planted(span)) for span in [logs.span(1, **named)]],
        "observations": [observed, *planted(observed)],
        "events": [event, *planted(event)],
        "records": [record, *planted(record)],
        "rollout": [*rollout, *(copy for line in rollout for copy in planted(line))],
        "pi": [*pi, *(copy for line in pi for copy in planted(line))],
        "opencode": [opencode],
        "gemini": [gemini],
        "usage": [usage_page],
        "costs": [costs_page],
    }.items():
        indent = 1 if name in ("opencode", "gemini", "usage", "costs") else None
        home.land({name: "\n".join(json.dumps(entry, indent=indent) for entry in entries) + "\n"})
    struct = [{"text": MARK}]
    columns = {name: struct if name not in ("input_tokens", "output_tokens") else [1] for name in session}
    times = {name: [session[name]] for name in ("session_started_at", "last_updated_at", "session_id", "model")}
    pq.write_table(pa.table(columns | times | {"input_tokens": [1]}), home.settings.landing / "sessions.parquet")
    home.ingest()
    formats = {name for (name,) in home.query("SELECT DISTINCT format FROM ingest.files WHERE rows_loaded > 0")}
    assert len(formats) >= 12, formats
    for table, rows in home.tables("raw", "ingest").items():
        assert [value for row in rows for value in row if MARK.lower() in str(value).lower()] == [], table


def without(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in names}
