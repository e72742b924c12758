"""Codex CLI rollouts (~/.codex/sessions/**/rollout-*.jsonl): one event per line, cumulative token counts.

Belongs here: which lines report a call, the session and model of a call, and which calls a fork copied from its parent.
Does not belong here: counting copies once (the models do). Only the fields in pipeline/ingest/sql/codex_lines.sql are
read from a line.
"""

from __future__ import annotations

import duckdb

from pipeline.ingest.sources import calls
from pipeline.ingest.sources.base import (
    MisreadError,
    forget_reader_errors,
    line_relation,
    load_tidily,
    readable_lines,
    tidy_lines,
)
from pipeline.ingest.sources.contract import Loaded, Probe
from pipeline.store.sqlfiles import sql

FORMAT = "codex"
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="transcript",
    key=("$.key",),
    columns={
        "response_id": "$.response_id",
        "session_id": "$.session_id",
        "copy_key": "$.copy_key",
        "is_copied": "$.is_copied",
        "copied_from": "$.copied_from",
        "held_in": "$.held_in",
        "session_started_at": "$.began",
        "logged_at": "$.logged_at",
        "provider": "$.provider",
        "model": "$.model",
        "project": "$.cwd",
        "usage_type": "$.service_tier",
        "input": "$.input_tokens",
        "cache_read": "$.cached_input_tokens",
        # OpenAI has one kind of cache writes, which live for minutes.
        "cache_write_5m": "$.cache_write_input_tokens",
        "output": "$.output_tokens",
        "total": "$.total_tokens",
    },
    is_inclusive=True,
    is_keyed_by_response=False,
)
_EVENTS = frozenset(("session_meta", "turn_context", "event_msg", "response_item", "compacted", "token_usage_record"))


def recognise(probe: Probe) -> str | None:
    """Recognised by a line of the head with a time, a type and a payload."""
    for entry in calls.first_objects(probe):
        if str(entry.get("type")) in _EVENTS and isinstance(entry.get("payload"), dict) and "timestamp" in entry:
            return ""
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per call of a session."""
    return load_tidily(connection, probe, lambda file: _load(connection, file, sha256), tidy_lines)


def _load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    forget_reader_errors(connection)
    try:
        # the state depends on the lines above
        lines = readable_lines(line_relation(probe, in_order=True))
        connection.execute(sql("ingest/codex_lines", readable_lines=lines))
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise MisreadError("not readable as lines of text: copy the rollout again") from None
    calls.read(connection, f"({sql('ingest/codex')})", SHAPE, document="document")
    connection.execute("DROP TABLE codex_lines")
    return calls.store_lines(connection, probe, sha256, SHAPE)
