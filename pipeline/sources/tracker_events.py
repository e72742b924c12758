"""Events of the project's own tracker: one JSON object a call, with the provider's usage body as it was (`usage`).

Belongs here: recognition of such lines. Does not belong here: writing them (the tracker), and the same event in several
files (dbt_project/models). An event that was delivered twice has one id, and counts once.
"""

from __future__ import annotations

import duckdb

from pipeline.sources import calls, usage_bodies
from pipeline.sources.base import Loaded, Probe

FORMAT = "tracker_events"
_COMPANIONS = frozenset(("conversation_id", "session_id"))


def recognise(probe: Probe) -> str | None:
    """The first object is an event: an id, a time, a model or provider, a conversation or session, and a usage body."""
    for entry in calls.first_objects(probe):
        has_id = bool(entry.keys() & {"event_id", "id"})
        names_call = "timestamp" in entry and bool(entry.keys() & {"model", "provider"} and _COMPANIONS & entry.keys())
        return "" if has_id and names_call and isinstance(entry.get("usage"), dict) else None
    return None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each call that was tracked."""
    return usage_bodies.load(connection, probe, sha256, "$.usage", "ingest/tracker_events_calls")
