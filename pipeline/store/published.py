"""The published database as readers in a process see it: one version at a time, kept open, cached.

Belongs here: opening the file, noticing that a run replaced it, and running queries. Does not belong here: any query,
and writing (warehouse.publish).

A run replaces the file as a whole. A snapshot keeps the file that it has opened, so all that one request reads is of
one version, while the next request gets the new one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.store.connection import Row
from pipeline.store.sqlfiles import literal

MEMORY_LIMIT = "400MB"
# Rows of cached results, over all queries.
CACHED_ROWS = 200_000


class NothingPublishedError(Exception):
    """No run has published anything in this home yet."""


class UnreadableError(NothingPublishedError):
    """The published file cannot be opened: it is damaged, or another program holds it."""


class Snapshot:
    """One version of the published file: `version` names it, `published_at` (UTC) is when it was written."""

    def __init__(self, path: Path, version: str, published_at: dt.datetime) -> None:
        self.version, self.published_at = version, published_at
        # Attached to an instance of its own: DuckDB gives a process one instance a path, also when the file behind
        # the path is another one by now.
        self._connection = duckdb.connect(
            ":memory:", config={"TimeZone": "UTC", "autoinstall_known_extensions": "false"}
        )
        self._connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        self._connection.execute("SET enable_progress_bar = false")
        self._connection.execute("SET python_enable_replacements = false")
        self._connection.execute(f"ATTACH {literal(str(path))} AS published (READ_ONLY)")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        self._results: OrderedDict[str, list[Row]] = OrderedDict()
        self._rows_kept = 0
        self._lock = threading.Lock()

    def rows(self, query: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """All rows of a query, by name of column; callers must not change them. Results are kept."""
        key = hashlib.sha256(repr((query, sorted((values or {}).items()))).encode()).hexdigest()
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        cursor = self._cursor()
        try:
            cursor.execute(query, dict(values or {}))
            names = [str(column[0]) for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            cursor.close()
        with self._lock:
            if key not in self._results:
                self._rows_kept += len(rows) + 1
            self._results[key] = rows
            while self._rows_kept > CACHED_ROWS and self._results:
                _, oldest = self._results.popitem(last=False)
                self._rows_kept -= len(oldest) + 1
        return rows

    def arrow(self, query: str, values: Mapping[str, Any] | None = None) -> pa.Table:
        """The result of a query as an Arrow table; nothing is kept."""
        cursor = self._cursor()
        try:
            return cursor.sql(query, params=dict(values or {})).to_arrow_table()
        finally:
            cursor.close()

    def compute(self, build: Callable[[duckdb.DuckDBPyConnection], pa.Table]) -> pa.Table:
        """The table that `build` makes of this version in several queries; nothing is kept."""
        cursor = self._cursor()
        try:
            return build(cursor)
        finally:
            cursor.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._connection.cursor()
        cursor.execute("USE published")
        return cursor

    def close(self) -> None:
        """Close the file; queries of other threads that still run end with an error."""
        self._connection.close()


class Publication:
    """The newest snapshot of a published file; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None

    def current(self) -> Snapshot:
        """The snapshot of the file as it is now.

        Raises:
            NothingPublishedError: there is no file.
            UnreadableError: it cannot be opened.

        """
        with self._lock:
            try:
                state = self._path.stat()
            except OSError:
                raise NothingPublishedError(f"nothing is published in {self._path.parent} yet") from None
            identity = f"{state.st_ino}-{state.st_mtime_ns}-{state.st_size}"
            version = hashlib.sha256(identity.encode()).hexdigest()[:16]
            if self._snapshot is None or self._snapshot.version != version:
                published_at = dt.datetime.fromtimestamp(state.st_mtime, dt.UTC)
                try:
                    # The former snapshot is closed when its last reader lets go of it.
                    self._snapshot = Snapshot(self._path, version, published_at)
                except duckdb.Error as error:
                    message = str(error).splitlines()[0]
                    raise UnreadableError(f"cannot open {self._path}: {message}") from None
            return self._snapshot
