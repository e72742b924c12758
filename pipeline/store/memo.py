"""The memo of each stage: the version of the marts it used, the fingerprint of its other inputs, and its outcome.

Belongs here: the memo (table `scope.versions`; the schema keeps its first name), and the fingerprint of code and
settings. Does not belong here: the increment of a build (marts).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache

import duckdb
import pyarrow as pa

from pipeline.store import bundled
from pipeline.store.connection import first_row, has_table, transaction
from pipeline.store.sqlfiles import sql

MARTS = "marts"


_CODE = (".py", ".sql", ".json", ".j2", ".js", ".css")
_FAILED = "failed "  # prefix of the fingerprint of a stage that failed in part


def version(connection: duckdb.DuckDBPyConnection, stage: str) -> tuple[int, str]:
    """The version of the marts in the memo of `stage` (0: none), and its fingerprint."""
    memo = first_row(connection, "SELECT version, fingerprint FROM scope.versions WHERE stage = ?", [stage])
    return (int(memo[0]), str(memo[1])) if memo else (0, "")


def outcome(connection: duckdb.DuckDBPyConnection, stage: str, fingerprint: str) -> str | None:
    """The last outcome of `stage`, or None if the marts or its `fingerprint` have changed since."""
    if version(connection, stage) != (version(connection, MARTS)[0], fingerprint):
        return None
    memo = first_row(connection, "SELECT outcome FROM scope.versions WHERE stage = ?", [stage])
    return str(memo[0]) if memo else None


def note(connection: duckdb.DuckDBPyConnection, stage: str, fingerprint: str, outcome: str = "") -> None:
    """Note that `stage` has used the current marts, and its outcome."""
    current, _ = version(connection, MARTS)
    connection.execute(
        "INSERT OR REPLACE INTO scope.versions VALUES (?, ?, ?, ?)", [stage, current, fingerprint, outcome]
    )


def note_failure(connection: duckdb.DuckDBPyConnection, stage: str, fingerprint: str, failure: str) -> None:
    """Note that `stage` failed in part: the next run tries again, and dependent stages run again."""
    note(connection, stage, f"{_FAILED}{fingerprint}", failure)


def failures(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The failures of stages in their last run, in order of their names."""
    query = "SELECT outcome FROM scope.versions WHERE starts_with(fingerprint, ?) ORDER BY stage"
    return [str(outcome) for (outcome,) in connection.execute(query, [_FAILED]).fetchall()]


class Kept:
    """Results of a stage by a hash of all inputs: an unchanged result is not computed again.

    Nothing is kept where the warehouse has no table for it, such as a published file.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, stage: str) -> None:
        self._connection, self._stage = connection, stage
        self._is_lasting = has_table(connection, "scope", "results")
        self._results: dict[str, str] = {}
        if self._is_lasting:
            query = "SELECT item, result FROM scope.results WHERE stage = ?"
            self._results = dict(connection.execute(query, [stage]).fetchall())

    def get(self, item: str) -> str | None:
        """The result of `item`, or None."""
        return self._results.get(item)

    def replace(self, results: Mapping[str, str]) -> None:
        """Store these results and delete all others."""
        new, gone = results.keys() - self._results.keys(), self._results.keys() - results.keys()
        self._results = dict(results)
        if not self._is_lasting or not (new or gone):
            return
        rows = pa.table(
            {"stage": [self._stage] * len(new), "item": sorted(new), "result": [results[item] for item in sorted(new)]},
            schema=pa.schema([(name, pa.string()) for name in ("stage", "item", "result")]),
        )
        self._connection.register("new_results", rows)
        try:
            with transaction(self._connection):
                query = "DELETE FROM scope.results WHERE stage = ? AND item IN (SELECT unnest(?))"
                self._connection.execute(query, [self._stage, sorted(gone)])
                self._connection.execute("INSERT INTO scope.results BY NAME FROM new_results")
        finally:
            self._connection.unregister("new_results")


def forget_results(connection: duckdb.DuckDBPyConnection, stage: str) -> None:
    """Delete all results of a stage: its next run computes everything again."""
    connection.execute("DELETE FROM scope.results WHERE stage = ?", [stage])


def fingerprint(connection: duckdb.DuckDBPyConnection, *settings: object) -> str:
    """One value for the inputs of a stage besides the marts: the ledger, the product's code, and these settings."""
    ledger = first_row(connection, sql("store/ledger"))
    return hashlib.sha256(repr((ledger, _code(), settings)).encode()).hexdigest()


@cache
def _code() -> str:
    folders = (bundled.PACKAGE, bundled.ROOT / "expectations")
    files = {file for folder in folders for file in folder.rglob("*") if file.suffix in _CODE}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
