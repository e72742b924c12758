"""Events of the tracker that pipeline/stream has landed: one entry of the stream a line, below a line that says so.

Belongs here: knowing such a file by its first line alone. An entry that is no event of ours, and may look like a line
of any other format, must not decide how the others are read. Does not belong here: what an event holds
(tracker_events).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.ingest.sources.contract import Loaded, Probe

if TYPE_CHECKING:
    import duckdb

FORMAT = "tracker_events"  # of what a stream brings
FIRST_LINE = b'{"schema": "token-analytics-stream/1"}'


def recognise(probe: Probe) -> str | None:
    """The first line is ours."""
    return "" if probe.head.startswith(FIRST_LINE) else None


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row for each event; the first line is ignored."""
    # Here, because a process that only asks which format a file is need not start DuckDB.
    from pipeline.ingest.sources import tracker_events

    return tracker_events.load(connection, probe, sha256)
