"""Gemini CLI sessions: one JSON document a session, `tokens` on each message of Gemini.

Belongs here: where such a document has what. Does not belong here: snapshots of one session in several files, which the
models count once by the id of the message. Input contains cached tokens; thoughts lie outside of output and are billed
as output; tokens of tool use lie outside of input.
"""

from __future__ import annotations

import duckdb

from pipeline.ingest.sources import calls
from pipeline.ingest.sources.contract import Loaded, Probe

FORMAT = "gemini_cli"
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="transcript",
    records="$.messages[*]",
    only={"$.type": ("gemini",)},
    key=("^.sessionId", "$.id"),
    columns={
        "session_id": "^.sessionId",
        "session_started_at": "^.startTime",
        "logged_at": "$.timestamp",
        "provider": "=google",
        "model": "$.model",
        "input": "$.tokens.input",
        "input_beside": "$.tokens.tool",
        "cache_read": "$.tokens.cached",
        "output": "$.tokens.output",
        "output_beside": "$.tokens.thoughts",
        "total": "$.tokens.total",
    },
    is_inclusive=True,
)


def recognise(probe: Probe) -> str | None:
    """A document with the session's id, the hash of its project, and its messages."""
    for entry in calls.first_objects(probe):
        return "" if entry.keys() >= {"sessionId", "projectHash", "messages"} else None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each answer of the session."""
    return calls.load(connection, probe, sha256, SHAPE)
