"""OpenCode session exports: one JSON document a session, usage on the assistant's messages.

Belongs here: where such a document has what. Does not belong here: snapshots of one session in several files, which the
models count once by the id of the message, and the messages that a fork took over under new ids, which they count once
by what a copy keeps. The counts of a message are those of its last step alone: each step is a call of its own.
Reasoning lies outside of output and is billed as output; of models whose provider counts it inside of output, older
versions keep it there, which the total tells.
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
    """A document of `info` with a session's id, and `messages`."""
    for entry in calls.first_objects(probe):
        info = entry.get("info")
        if isinstance(info, dict) and str(info.get("id", "")).startswith("ses_") and "messages" in entry:
            return ""
        return None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each answer of the session."""
    return calls.load(connection, probe, sha256, SHAPE)
