"""OpenCode session exports: one JSON document per session, with usage on assistant messages.

Belongs here: the fields of such a document. Does not belong here: snapshots of one session in several files, which the
models count once by message id, and messages that a fork copied under new ids, which the models count once by the
fields that a copy keeps. A message has only the counts of its last step: each step is a separate call. Reasoning is not
part of output but billed as output. If the provider includes it in output, older versions do so too; the total shows
which.
"""

from __future__ import annotations

import duckdb

from pipeline.ingest.sources import calls
from pipeline.ingest.sources.contract import Loaded, Probe

FORMAT = "opencode"
SHAPE = calls.CallShape(
    format=FORMAT,
    logger="transcript",
    records="$.messages[*]",
    prepare="opencode_row",
    inside="opencode_steps",
    only={"$.info.role": ("assistant",)},
    key=("$.info.id",),
    columns={
        "session_id": ("$.info.sessionID", "^.info.id"),
        "session_started_at": "^.info.time.created",
        "logged_at": "$.info.created",
        "provider": ("$.info.providerID", "^.info.model.providerID"),
        "model": ("$.info.modelID", "^.info.model.id"),
        "project": ("$.info.root", "^.info.directory", "^.info.location.directory"),
        "input": "$.tokens.input",
        "cache_read": "$.tokens.cache.read",
        "cache_write": "$.tokens.cache.write",
        "output": "$.tokens.output",
        "output_beside": "$.tokens.reasoning",
        "total": "$.tokens.total",
    },
    is_inclusive=False,
    total_tells_beside=True,
)


def recognise(probe: Probe) -> str | None:
    """Recognised by a document with `messages` and `info` with a session id."""
    for entry in calls.first_objects(probe):
        info = entry.get("info")
        if isinstance(info, dict) and str(info.get("id", "")).startswith("ses_") and "messages" in entry:
            return ""
        return None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per answer of the session."""
    return calls.load(connection, probe, sha256, SHAPE)
