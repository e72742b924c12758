"""Tracker events landed by `fetch.stream`: one stream entry per line, after a header line.

Belongs here: recognising such a file by its first line only, because an entry of something else could look like a line
of any other format. Does not belong here: the fields of an event (tracker_events).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.ingest.sources.contract import Loaded, Probe

if TYPE_CHECKING:
    import duckdb

FORMAT = "tracker_events"  # header of drained files
FIRST_LINE = b'{"schema": "token-analytics-stream/1"}'


def recognise(probe: Probe) -> str | None:
    """Recognised by the header line."""
    return "" if probe.head.startswith(FIRST_LINE) else None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per event; the first line is ignored."""
    # imported here, because recognition does not need DuckDB
    from pipeline.ingest.sources import tracker_events

    return tracker_events.load(connection, probe, sha256)
