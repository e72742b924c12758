"""Files of the project's tracker: events, one JSON object per call, and session files, which contain events.

Belongs here: recognising both, and extracting the events of a session file. Does not belong here: writing them (the
tracker; docs/tracker.md describes both formats), and the same event in several files (dbt_project/models). An event has
one id and counts once, even if it was delivered twice or is in both kinds of files.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import duckdb

from pipeline.ingest.sources import calls, usage_bodies
from pipeline.ingest.sources.base import scratch
from pipeline.ingest.sources.contract import MAX_DOCUMENT_BYTES, Loaded, Probe, SourceError, json_of

FORMAT = "tracker_events"
_COMPANIONS = frozenset(("conversation_id", "session_id"))
# The tracker writes the schema first; formatting the file can sort its fields.
_SESSION_SCHEMA = "token-analytics-tracker-session/"
_SESSION = re.compile(rf'"schema"\s*:\s*"{_SESSION_SCHEMA}\d+"')


def recognise(probe: Probe) -> str | None:
    """Recognised by a first object with id, time, model or provider, conversation or session, and a usage body."""
    if _is_session(probe):
        return ""
    for entry in calls.first_objects(probe):
        has_id = bool(entry.keys() & {"event_id", "id"})
        names_call = "timestamp" in entry and bool(entry.keys() & {"model", "provider"} and _COMPANIONS & entry.keys())
        return "" if has_id and names_call and isinstance(entry.get("usage"), dict) else None
    return None


def _is_session(probe: Probe) -> bool:
    """Whether the file is one object that names the schema outside of its events."""
    if not probe.is_text or not probe.text.lstrip().startswith("{"):
        return False
    # a complete object in the first line is the file, or one of many lines
    first = json_of(probe.text.lstrip().split("\n", 1)[0])
    if isinstance(first, dict):
        return str(first.get("schema")).startswith(_SESSION_SCHEMA)
    found = _SESSION.search(probe.text) or _SESSION.search(_tail(probe))
    return found is not None


def _tail(probe: Probe) -> str:
    """The end of an uncompressed file that is longer than its head: sorted fields put the schema behind the events."""
    if probe.compression != "none" or probe.path.stat().st_size <= len(probe.head):
        return ""
    with probe.path.open("rb") as handle:
        handle.seek(-4096, 2)
        return handle.read().decode("utf-8", "replace")


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per tracked call.

    In a session file, the line of a rejected event is its number in `events`, from 1, and the offset is 0.
    """
    if not _is_session(probe):
        return usage_bodies.load(connection, probe, sha256, "$.usage", "ingest/tracker_events_calls")
    with scratch() as folder:
        lines = _events_as_lines(probe, folder / "events")
        loaded = usage_bodies.load(connection, lines, sha256, "$.usage", "ingest/tracker_events_calls")
    return replace(loaded, rejected=tuple(replace(row, byte_offset=0) for row in loaded.rejected))


def _events_as_lines(probe: Probe, path: Path) -> Probe:
    """Write a session's events to a file, one per line."""
    probe.size(MAX_DOCUMENT_BYTES, "a session's file")
    try:
        with probe.open() as file:
            session = json.load(file)
    except (ValueError, EOFError, OSError, RecursionError):
        raise SourceError(
            "the session's file is cut off or damaged: save the session again, or copy it again"
        ) from None
    events = session.get("events") if isinstance(session, dict) else None
    if not isinstance(events, list):
        raise SourceError("the session's file has no list of events: save the session again")
    text = "".join(json.dumps(event) + "\n" for event in events)
    path.write_text(text, encoding="ascii")
    return Probe(path, text[: len(probe.head)].encode("ascii"), "none")
