"""Removes rows from the raw tables: forgotten files, usage before a day, and former rows of a reloaded file.

Belongs here: deleting raw rows so that the next build removes them from the marts. Does not belong here: loading a file
(loader), and the marts themselves (dbt_project).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb

from pipeline.ingest import ledger, touched
from pipeline.settings import ConfigurationError, Settings
from pipeline.store.connection import transaction
from pipeline.store.sqlfiles import literal, sql


def forget_file(connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """Remove a file's rows from the raw tables; the ledger keeps it as `forgotten`, so that it is not loaded again.

    Its rejected rows are deleted too; the next `ingest` deletes their text in the private quarantine.

    Args:
        connection: the writer's.
        name: the file's path as the ledger shows it, or at least 8 characters of its sha256.

    Returns:
        Paths of the forgotten files. The next build removes them from the marts.

    Raises:
        ConfigurationError: no loaded file is known by this name.

    """
    prefix = name if len(name) >= 8 else "no such prefix"
    found = connection.execute(sql("ingest/forget/find"), [name, prefix]).fetchall()
    if not found:
        raise ConfigurationError(
            f"no loaded file is called {name!r}: give a path as `status` shows it, or its sha256 (see ingest.files)"
        )
    for sha256, _, _ in found:
        with transaction(connection):
            take_out(connection, sha256)
            connection.execute("UPDATE ingest.files SET status = 'forgotten' WHERE file_sha256 = ?", [sha256])
            connection.execute(sql("ingest/forget/rejected"))
    return [str(path) for _, path, _ in found]


def forget_before(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Remove usage before `day` from the raw tables, and keep such usage of later files out.

    A file without any row left is forgotten, with its rejected rows. Rejected rows of other files stay: the day of an
    unreadable row is unknown.
    """
    with transaction(connection):
        delete(connection, *older_than(day))
        connection.execute("DELETE FROM raw.retention")
        connection.execute("INSERT INTO raw.retention VALUES (?)", [day])
        connection.execute(sql("ingest/forget/mark_files"), [day])
        connection.execute(sql("ingest/forget/rejected"))


def older_than(day: date, also: str = "true") -> tuple[str, str, str, str, str]:
    """Conditions for the rows of each raw table, and of the ledger, before a day."""
    limit = f"DATE {literal(day.isoformat())}"
    columns = ("usage_start", "usage_date", "requested_at", "session_started_at", "first_usage_date")
    usage, costs, requests, sessions, files = (f"{column} < {limit} and {also}" for column in columns)
    return usage, costs, requests, sessions, files


def take_out(connection: duckdb.DuckDBPyConnection, sha256: str) -> None:
    """Delete a file's raw rows, and put its rows in the marts into the increment of the next build."""
    same = f"file_sha256 = {literal(sha256)}"
    touched.add_below_links(connection, [sha256])
    delete(connection, same, same, same, same, same)
    for table in ("raw.exports", "raw.span_links"):
        connection.execute(f"DELETE FROM {table} WHERE file_sha256 = ?", [sha256])
    connection.execute("DELETE FROM scope.pending_files WHERE file_sha256 = ?", [sha256])


def drop_rejected_of_forgotten(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Drop the rejected rows of files that are not loaded, and their text, including those that a killed run left."""
    connection.execute(sql("ingest/forget/rejected"))
    found = connection.execute("SELECT file_sha256 FROM ingest.files WHERE status = 'loaded' AND rows_rejected > 0")
    kept = {ledger.quarantine_file(settings, sha256) for (sha256,) in found.fetchall()}
    if settings.quarantine.exists():
        for path in settings.quarantine.iterdir():
            if path not in kept:
                path.unlink()


def delete(
    connection: duckdb.DuckDBPyConnection, usage: str, costs: str, requests: str, sessions: str, files: str
) -> None:
    """Delete raw rows by a condition per table, and put their rows in the marts into the next build's increment."""
    conditions = {
        "condition_usage": usage,
        "condition_costs": costs,
        "condition_requests": requests,
        "condition_sessions": sessions,
        "condition_files": files,
    }
    ledger.run_statements(connection, sql("ingest/forget/scope", **conditions))
    # Before the rows are deleted: afterwards the calls that were matched with them cannot be found.
    touched.add_alike(connection)
    ledger.run_statements(connection, sql("ingest/forget/delete", **conditions))


def replace(connection: duckdb.DuckDBPyConnection, sha256: str, key: str) -> None:
    """Replace all former rows of the file by the rows that were loaded as `key`."""
    take_out(connection, sha256)
    connection.execute("DELETE FROM ingest.rejected_rows WHERE file_sha256 = ?", [sha256])
    ledger.run_statements(connection, sql("ingest/retry/adopt", sha256=literal(sha256), key=literal(key)))


def keep_out(connection: duckdb.DuckDBPyConnection, sha256s: Sequence[str]) -> None:
    """Delete rows of new files before the day that `forget --before` has set."""
    ((day,),) = connection.execute("SELECT max(before_date) FROM raw.retention").fetchall()
    if day is not None and sha256s:
        same = f"file_sha256 IN ({', '.join(map(literal, sha256s))})"
        delete(connection, *older_than(day, also=same))
