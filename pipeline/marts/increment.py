"""The increment of a build: the days, responses and sessions that new or forgotten files touch.

Belongs here: planning a build in batches of bounded size. Does not belong here: other calls that a change touches
(ingest.touched), the memo of each stage (store.memo), and the models, which read the increment. Its schema is called
`scope`, as homes of earlier versions have it.

Why the result equals a rebuild: a day's console usage and costs depend on that day's rows, and on the period of each
export, which is stored with the file. A response depends on the rows of its message id, on its copies and, if several
loggers report calls, on the records of equal counts around it. A session depends on its own records and on the
responses that it owns. So a batch contains every response of its files and those that may be the same calls, every
session that owns or may own one of them, and every day of any of these, now or after the last build. All of that is
recomputed from raw rows, and nothing else can have changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb

from pipeline.ingest import touched
from pipeline.store import memo
from pipeline.store.connection import first_row, has_table, transaction
from pipeline.store.sqlfiles import sql

# Raw rows per batch: limits the memory of a build for any history. Two million rows build with 400 MB for DuckDB.
BATCH_ROWS = 2_000_000
_PARTS = ("days", "hours", "responses", "sessions")


@dataclass
class Batch:
    """Days of exports (ISO dates), and files of logs, that are built in one step."""

    days: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def mark_all(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop everything built, so that the next build is a full one; the published tables are not touched."""
    with transaction(connection):
        for schema in ("staging", "intermediate", "marts"):
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        for name in _PARTS:
            connection.execute(f"DELETE FROM scope.{name}")
        connection.execute("DELETE FROM scope.reconciliation_built")
        connection.execute("DELETE FROM scope.pending_files")
        connection.execute(
            "INSERT INTO scope.pending_files SELECT file_sha256 FROM ingest.files WHERE status = 'loaded'"
        )


def plan(connection: duckdb.DuckDBPyConnection, batch_rows: int = BATCH_ROWS) -> list[Batch]:
    """The pending work in batches of about `batch_rows` raw rows; empty if nothing is pending.

    A single day or file is never split. The first batch also takes what an interrupted build or a retraction has left.
    """
    batches: dict[int, Batch] = {}
    for kind, item, number in connection.execute(sql("marts/increment/plan"), [batch_rows]).fetchall():
        batch = batches.setdefault(int(number), Batch())
        (batch.days if kind == "day" else batch.files).append(str(item))
    if not batches and (_is_pending(connection) or _has_increment(connection) or not is_built(connection)):
        return [Batch()]
    return [batches[number] for number in sorted(batches)]


def open_batch(connection: duckdb.DuckDBPyConnection, batch: Batch, keep: bool) -> int:
    """Write the increment of a batch; with `keep`, add it to the existing one. Returns its number of days."""
    with transaction(connection):
        if not keep:
            for name in _PARTS:
                connection.execute(f"DELETE FROM scope.{name}")
        connection.execute(sql("marts/increment/responses"), [batch.files])
        touched.add_below_links(connection, batch.files)
        touched.add_alike(connection)
        connection.execute(sql("marts/increment/sessions"), [batch.files])
        connection.execute(sql("marts/increment/days"), [batch.days])
        if has_table(connection, "intermediate", "int_requests"):
            connection.execute(sql("marts/increment/days_before"))
        connection.execute(sql("marts/increment/hours"))
        days = first_row(connection, "SELECT count(*) FROM scope.days")
    return int(days[0]) if days else 0


def close(connection: duckdb.DuckDBPyConnection, fingerprint: str) -> None:
    """Note that all pending files are in the marts now, built by models of this `fingerprint`."""
    with transaction(connection):
        for name in (*_PARTS, "pending_files"):
            connection.execute(f"DELETE FROM scope.{name}")
        seen, _ = memo.version(connection, memo.MARTS)
        connection.execute(
            "INSERT OR REPLACE INTO scope.versions VALUES (?, ?, ?, '')", [memo.MARTS, seen + 1, fingerprint]
        )


def is_built(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the marts have ever been built."""
    return has_table(connection, "marts", "token_usage_minutes")


def _is_pending(connection: duckdb.DuckDBPyConnection) -> bool:
    return first_row(connection, "SELECT 1 FROM scope.pending_files LIMIT 1") is not None


def _has_increment(connection: duckdb.DuckDBPyConnection) -> bool:
    return any(first_row(connection, f"SELECT 1 FROM scope.{name} LIMIT 1") is not None for name in _PARTS)
