"""Codex CLI rollouts (~/.codex/sessions/**/rollout-*.jsonl): one event a line, cumulative counts of tokens.

Belongs here: which events report new usage, and to which session and model they belong. Does not belong here: the
replay of a session in another file, which the models count once by its key. Of a line only the fields listed in
pipeline/sql/ingest/codex_lines.sql are read.
"""

from __future__ import annotations

import duckdb

from pipeline.sources import calls
from pipeline.sources.base import MisreadError, forget_reader_errors, line_relation, load_tidily, tidy_lines
from pipeline.sources.contract import Loaded, Probe
from pipeline.sqlfiles import sql

FORMAT = "codex"
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="transcript",
    key=("$.key",),
    columns={
        "session_id": "$.session_id",
        "logged_at": "$.logged_at",
        "provider": "$.provider",
        "model": "$.model",
        "project": "$.cwd",
        "input": "$.input_tokens",
        "cache_read": "$.cached_input_tokens",
        "output": "$.output_tokens",
    },
    is_inclusive=True,
)
_EVENTS = frozenset(("session_meta", "turn_context", "event_msg", "response_item", "compacted"))


def recognise(probe: Probe) -> str | None:
    """Some line of the head is an event of a rollout: a time, a type and a payload."""
    for entry in calls.first_objects(probe):
        if entry.get("type") in _EVENTS and isinstance(entry.get("payload"), dict) and "timestamp" in entry:
            return ""
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each change of the counter of a session."""
    return load_tidily(connection, probe, lambda file: _load(connection, file, sha256), tidy_lines)


def _load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    forget_reader_errors(connection)
    try:
        # What is in force depends on the lines above.
        connection.execute(sql("ingest/codex_lines", relation=line_relation(probe, in_order=True)))
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise MisreadError("not readable as lines of text: copy the rollout again") from None
    calls.read(connection, f"({sql('ingest/codex')})", SHAPE, document="document")
    connection.execute("DROP TABLE codex_lines")
    return calls.store_lines(connection, probe, sha256, SHAPE)
