"""Which part of the marts a build replaces: the days, responses and sessions that new or forgotten files touch.

Belongs here: planning a build in batches of bounded size, and remembering which state each stage has seen. Does not
belong here: the models themselves (dbt_project), which read schema `scope`.

Why the result equals a rebuild. A day's console usage and costs depend on that day's rows, and on how far each export
reaches, which is stored with the file. A response depends on the rows of its message id, on those that are copies of
one another and, where several loggers tell of calls, on the records of equal counts around it; a session on its own
records and on the responses that it owns. So a batch takes every response of its files, those that stand beside one of
them, every session that owns or may own one of them, and every day on which any of these stands now or stood after the
last build. All of that is computed anew from raw rows, and nothing else can have changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import duckdb

from pipeline.store import bundled
from pipeline.store.sqlfiles import sql

# Raw rows a batch: bounds the memory of a build, whatever the history. Two million rows build with 400 MB for DuckDB.
BATCH_ROWS = 2_000_000
_SCOPES = ("days", "responses", "sessions")
MARTS = "marts"
_FAILED = "failed "  # begins the fingerprint of a stage that could not do all of its work


@dataclass
class Batch:
    """Days of exports (ISO dates), and files of logs, that are built in one step."""

    days: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def mark_all(connection: duckdb.DuckDBPyConnection) -> None:
    """Forget what was built, so that the next build makes everything anew; what is published is not touched."""
    connection.execute("BEGIN")
    for schema in ("staging", "intermediate", "marts"):
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    for name in _SCOPES:
        connection.execute(f"DELETE FROM scope.{name}")
    connection.execute("DELETE FROM scope.reconciliation_built")
    connection.execute("DELETE FROM scope.pending_files")
    connection.execute("INSERT INTO scope.pending_files SELECT file_sha256 FROM ingest.files WHERE status = 'loaded'")
    connection.execute("COMMIT")


def plan(connection: duckdb.DuckDBPyConnection, batch_rows: int = BATCH_ROWS) -> list[Batch]:
    """The pending work in batches of about `batch_rows` raw rows; empty where nothing is pending.

    A single day or file is never split. What an interrupted build or a retraction left in scope goes into the first.
    """
    batches: dict[int, Batch] = {}
    for kind, item, number in connection.execute(sql("marts/increment/plan"), [batch_rows]).fetchall():
        batch = batches.setdefault(int(number), Batch())
        (batch.days if kind == "day" else batch.files).append(str(item))
    if not batches and (_is_pending(connection) or _has_scope(connection) or not is_built(connection)):
        return [Batch()]
    return [batches[number] for number in sorted(batches)]


def open_batch(connection: duckdb.DuckDBPyConnection, batch: Batch, keep: bool) -> int:
    """Write schema `scope` for a batch; with `keep`, what already stands there stays. Returns the days in scope."""
    connection.execute("BEGIN")
    try:
        if not keep:
            for name in _SCOPES:
                connection.execute(f"DELETE FROM scope.{name}")
        connection.execute(sql("marts/increment/responses"), [batch.files])
        add_alike(connection)
        connection.execute(sql("marts/increment/sessions"), [batch.files])
        connection.execute(sql("marts/increment/days"), [batch.days])
        if _exists(connection, "intermediate", "int_requests"):
            connection.execute(sql("marts/increment/days_before"))
        counted = _first(connection, "SELECT count(*) FROM scope.days")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return int(counted[0]) if counted else 0


def add_alike(connection: duckdb.DuckDBPyConnection) -> None:
    """Put responses into scope that may be one call with one in scope: copies, and what another logger tells of."""
    inserts = []
    if _first(connection, "SELECT 1 FROM raw.requests WHERE message_id <> '' LIMIT 1"):
        inserts.append(sql("marts/increment/same_message"))
    if _first(connection, "SELECT 1 FROM raw.requests WHERE is_copied IS NOT FALSE LIMIT 1"):
        inserts.append(sql("marts/increment/copies"))
    if (_first(connection, "SELECT count(DISTINCT logger) FROM raw.requests") or (0,))[0] > 1:
        built = sql("marts/increment/neighbours_built") if _exists(connection, "intermediate", "int_requests") else ""
        inserts.append(sql("marts/increment/neighbours", built=built))
    known = -1
    while inserts and known != (known := int((_first(connection, "SELECT count(*) FROM scope.responses") or (0,))[0])):
        for insert in inserts:
            connection.execute(insert)


def close(connection: duckdb.DuckDBPyConnection, fingerprint: str) -> None:
    """Note that everything pending is in the marts now, built by models of this `fingerprint`."""
    connection.execute("BEGIN")
    for name in (*_SCOPES, "pending_files"):
        connection.execute(f"DELETE FROM scope.{name}")
    seen, _ = version(connection, MARTS)
    connection.execute("INSERT OR REPLACE INTO scope.versions VALUES (?, ?, ?, '')", [MARTS, seen + 1, fingerprint])
    connection.execute("COMMIT")


def version(connection: duckdb.DuckDBPyConnection, stage: str) -> tuple[int, str]:
    """The version of the marts that `stage` has seen (0: none), and the fingerprint that it noted."""
    found = _first(connection, "SELECT version, fingerprint FROM scope.versions WHERE stage = ?", [stage])
    return (int(found[0]), str(found[1])) if found else (0, "")


def outcome(connection: duckdb.DuckDBPyConnection, stage: str, fingerprint: str) -> str | None:
    """What `stage` noted when it last worked, or None if the marts or its `fingerprint` have changed since."""
    if version(connection, stage) != (version(connection, MARTS)[0], fingerprint):
        return None
    found = _first(connection, "SELECT outcome FROM scope.versions WHERE stage = ?", [stage])
    return str(found[0]) if found else None


def note(connection: duckdb.DuckDBPyConnection, stage: str, fingerprint: str, outcome: str = "") -> None:
    """Note that `stage` has worked on the marts as they are, and how that came out."""
    current, _ = version(connection, MARTS)
    connection.execute(
        "INSERT OR REPLACE INTO scope.versions VALUES (?, ?, ?, ?)", [stage, current, fingerprint, outcome]
    )


def note_failure(connection: duckdb.DuckDBPyConnection, stage: str, fingerprint: str, failure: str) -> None:
    """Note that `stage` could not do all of its work: the next run tries again, and what rests on it is made anew."""
    note(connection, stage, f"{_FAILED}{fingerprint}", failure)


def failures(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """What stages could not do when they last worked, in order of their names."""
    query = "SELECT outcome FROM scope.versions WHERE starts_with(fingerprint, ?) ORDER BY stage"
    return [str(outcome) for (outcome,) in connection.execute(query, [_FAILED]).fetchall()]


def fingerprint(connection: duckdb.DuckDBPyConnection, *settings: object) -> str:
    """One value for what a stage rests on besides the marts: the ledger, the product's own code, and these settings."""
    ledger = _first(connection, sql("marts/increment/ledger"))
    return hashlib.sha256(repr((ledger, _code(), settings)).encode()).hexdigest()


@cache
def _code() -> str:
    folders = (bundled.PACKAGE, bundled.ROOT / "expectations")
    files = {file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".sql", ".json", ".j2")}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def is_built(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the marts have ever been built."""
    return _exists(connection, "marts", "token_usage_minutes")


def _is_pending(connection: duckdb.DuckDBPyConnection) -> bool:
    return _first(connection, "SELECT 1 FROM scope.pending_files LIMIT 1") is not None


def _has_scope(connection: duckdb.DuckDBPyConnection) -> bool:
    return any(_first(connection, f"SELECT 1 FROM scope.{name} LIMIT 1") is not None for name in _SCOPES)


def _exists(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> bool:
    query = "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?"
    found = _first(connection, query, [schema, table])
    return found is not None


def _first(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object] = ()
) -> tuple[Any, ...] | None:
    """The first row. All are fetched: DuckDB refuses `connection.sql` while a result is not read to its end."""
    rows = connection.execute(query, list(parameters)).fetchall()
    return rows[0] if rows else None
