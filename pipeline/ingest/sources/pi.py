"""Pi sessions: one JSON object per line, a header with the session id, usage on assistant messages.

Belongs here: the fields of such a line. Compactions, branch summaries and tool results have their own usage, usually
without a model: they get that of the line above. Does not belong here: snapshots of one session in several files, and
lines that a fork copied, which the models count once. Reasoning is part of output; input excludes cached tokens.
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

FORMAT = "pi"
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="transcript",
    header=("$.type", "session"),
    only={"$.type": ("message", "compaction", "branch_summary")},
    key=("^.id", "$.id"),
    columns={
        "response_id": "$.message.responseId",
        "session_id": "^.id",
        "session_started_at": "^.timestamp",
        "logged_at": ("$.timestamp", "$.message.timestamp"),
        "provider": ("$.message.provider", "$.provider", "$.in_force.provider"),
        "model": ("$.message.model", "$.model", "$.in_force.model"),
        "project": "^.cwd",
        "input": ("$.message.usage.input", "$.usage.input"),
        "cache_read": ("$.message.usage.cacheRead", "$.usage.cacheRead"),
        "cache_write": ("$.message.usage.cacheWrite", "$.usage.cacheWrite"),
        "cache_write_1h": ("$.message.usage.cacheWrite1h", "$.usage.cacheWrite1h"),
        "output": ("$.message.usage.output", "$.usage.output"),
        "total": ("$.message.usage.totalTokens", "$.usage.totalTokens"),
    },
    is_inclusive=False,
    is_keyed_by_response=False,
)


def recognise(probe: Probe) -> str | None:
    """Recognised by a session header as the first object, or a message with usage in Pi's form."""
    for entry in calls.first_objects(probe):
        if entry.get("type") == "session" and entry.keys() >= {"version", "id", "timestamp", "cwd"}:
            return ""
        message = entry.get("message")
        usage = message.get("usage") if isinstance(message, dict) else None
        if entry.get("type") == "message" and isinstance(usage, dict) and usage.keys() >= {"cacheRead", "cacheWrite"}:
            return ""
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per call of the session."""
    return load_tidily(connection, probe, lambda file: _load(connection, file, sha256), tidy_lines)


def _load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    forget_reader_errors(connection)
    try:
        # the current model depends on the lines above
        connection.execute(sql("ingest/pi_lines", readable_lines=readable_lines(line_relation(probe, in_order=True))))
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise MisreadError("not readable as lines of text: copy the file again") from None
    calls.read(connection, "pi_lines", SHAPE, document="document")
    connection.execute("DROP TABLE pi_lines")
    return calls.store_lines(connection, probe, sha256, SHAPE)
