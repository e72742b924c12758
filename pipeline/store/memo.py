"""The memo of each stage: which state of the marts it has seen, what else it rested on, and how that came out.

Belongs here: the memo, and the fingerprint of code and settings. Does not belong here: what a build touches (marts).
"""

from __future__ import annotations

import hashlib
from functools import cache

import duckdb

from pipeline.store import bundled
from pipeline.store.connection import first_row
from pipeline.store.sqlfiles import sql

MARTS = "marts"


_FAILED = "failed "  # begins the fingerprint of a stage that could not do all of its work


def version(connection: duckdb.DuckDBPyConnection, stage: str) -> tuple[int, str]:
    """The version of the marts that `stage` has seen (0: none), and the fingerprint that it noted."""
    found = first_row(connection, "SELECT version, fingerprint FROM scope.versions WHERE stage = ?", [stage])
    return (int(found[0]), str(found[1])) if found else (0, "")


def outcome(connection: duckdb.DuckDBPyConnection, stage: str, fingerprint: str) -> str | None:
    """What `stage` noted when it last worked, or None if the marts or its `fingerprint` have changed since."""
    if version(connection, stage) != (version(connection, MARTS)[0], fingerprint):
        return None
    found = first_row(connection, "SELECT outcome FROM scope.versions WHERE stage = ?", [stage])
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
    ledger = first_row(connection, sql("store/ledger"))
    return hashlib.sha256(repr((ledger, _code(), settings)).encode()).hexdigest()


@cache
def _code() -> str:
    folders = (bundled.PACKAGE, bundled.ROOT / "expectations")
    files = {file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".sql", ".json", ".j2")}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
