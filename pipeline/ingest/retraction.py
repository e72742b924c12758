"""Taking rows out of the raw tables again: forgotten files, usage before a day, and what a file gave before.

Belongs here: deleting raw rows so that the next build takes them out of the marts. Does not belong here: loading a file
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
    """Take what a file gave out of the raw tables; the ledger keeps it as `forgotten`, so that it is not loaded again.

    Its rejected rows go too; their text in the private quarantine goes when `ingest` runs next.

    Args:
        connection: the writer's.
        name: the file's path as the ledger shows it, or at least 8 characters of its sha256.

    Returns:
        Paths of the forgotten files. The next build takes them out of the marts.

    Raises:
        ConfigurationError: no loaded file is known by this name.

    """
    prefix = name if len(name) >= 8 else "no such prefix"
    found = connection.execute(sql("ingest/forget/find"), [name, prefix]).fetchall()
    if not found:
        raise ConfigurationError(
            f"no loaded file is known as {name!r}: give a path as `status` shows it, or its sha256 (see ingest.files)"
        )
    for sha256, _, _ in found:
        with transaction(connection):
            take_out(connection, sha256)
            connection.execute("UPDATE ingest.files SET status = 'forgotten' WHERE file_sha256 = ?", [sha256])
            connection.execute(sql("ingest/forget/rejected"))
    return [str(path) for _, path, _ in found]


def forget_before(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Take usage before `day` out of the raw tables, and keep out what later files bring of it.

    A file of which no row is left is forgotten, with its rejected rows. Those of other files stay: which day a row that
    cannot be read belongs to is not known.
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
    """Delete a file's raw rows; what the marts hold of it is in scope of the next build."""
    same = f"file_sha256 = {literal(sha256)}"
    delete(connection, same, same, same, same, same)
    connection.execute("DELETE FROM raw.exports WHERE file_sha256 = ?", [sha256])
    connection.execute("DELETE FROM scope.pending_files WHERE file_sha256 = ?", [sha256])


def drop_rejected_of_forgotten(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Drop the rejected rows of files that are not loaded, and their text; also what a killed run left of them."""
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
    """Delete raw rows by a condition for each table; what the marts hold of them comes into scope of the next build."""
    conditions = {
        "condition_usage": usage,
        "condition_costs": costs,
        "condition_requests": requests,
        "condition_sessions": sessions,
        "condition_files": files,
    }
    ledger.run_statements(connection, sql("ingest/forget/scope", **conditions))
    # While the rows are still there: which other calls were matched with them cannot be told afterwards.
    touched.add_alike(connection)
    ledger.run_statements(connection, sql("ingest/forget/delete", **conditions))


def replace(connection: duckdb.DuckDBPyConnection, sha256: str, key: str) -> None:
    """Put the rows that were loaded as `key` in the place of all that the file gave before."""
    take_out(connection, sha256)
    connection.execute("DELETE FROM ingest.rejected_rows WHERE file_sha256 = ?", [sha256])
    ledger.run_statements(connection, sql("ingest/retry/adopt", sha256=literal(sha256), key=literal(key)))


def keep_out(connection: duckdb.DuckDBPyConnection, sha256s: Sequence[str]) -> None:
    """Leave out what new files bring from before the day that `forget --before` has set."""
    ((day,),) = connection.execute("SELECT max(before_date) FROM raw.retention").fetchall()
    if day is not None and sha256s:
        same = f"file_sha256 IN ({', '.join(map(literal, sha256s))})"
        delete(connection, *older_than(day, also=same))
