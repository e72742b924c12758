"""Pi sessions: one JSON object a line, a header with the session's id, usage on the assistant's messages.

Belongs here: where such a line has what. Does not belong here: snapshots of one session in several files. Reasoning
lies inside of output; input excludes cached tokens.
"""

from __future__ import annotations

import duckdb

from pipeline.sources import calls
from pipeline.sources.contract import Loaded, Probe

FORMAT = "pi"
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="transcript",
    header=("$.type", "session"),
    only={"$.type": ("message",), "$.message.role": ("assistant",)},
    key=("^.id", "$.id"),
    columns={
        "response_id": "$.message.responseId",
        "session_id": "^.id",
        "logged_at": ("$.timestamp", "$.message.timestamp"),
        "provider": "$.message.provider",
        "model": "$.message.model",
        "project": "^.cwd",
        "input": "$.message.usage.input",
        "cache_read": "$.message.usage.cacheRead",
        "cache_write": "$.message.usage.cacheWrite",
        "output": "$.message.usage.output",
    },
    is_inclusive=False,
)


def recognise(probe: Probe) -> str | None:
    """The first object is the header of a session, or some message states its usage as Pi does."""
    for entry in calls.first_objects(probe):
        if entry.get("type") == "session" and entry.keys() >= {"version", "id", "timestamp", "cwd"}:
            return ""
        message = entry.get("message")
        usage = message.get("usage") if isinstance(message, dict) else None
        if entry.get("type") == "message" and isinstance(usage, dict) and usage.keys() >= {"cacheRead", "cacheWrite"}:
            return ""
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each answer of the session."""
    return calls.load(connection, probe, sha256, SHAPE)
