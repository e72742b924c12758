"""Gemini CLI sessions: one JSON document per session, with `tokens` on each message of Gemini.

Belongs here: the fields of such a document. Does not belong here: snapshots of one session in several files, which the
models count once by message id. Input includes cached tokens. Thoughts are not part of output but billed as output;
tokens of tool use are not part of input.
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
    """Recognised by a document with a session id, a project hash, and messages."""
    for entry in calls.first_objects(probe):
        return "" if entry.keys() >= {"sessionId", "projectHash", "messages"} else None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per answer of the session."""
    return calls.load(connection, probe, sha256, SHAPE)
