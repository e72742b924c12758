"""Lands rows of `token_usage_sessions` from the application's PostgreSQL as files.

Belongs here: the connection, selecting rows that are new since the last pull, and the files. Does not belong here:
reading these files (sources/usage_sessions), and which state of a session is in force (dbt_project). The rules are in
docs/connections.md.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.fetch import landing
from pipeline.ingest.sources import usage_sessions
from pipeline.settings import ConfigurationError, Settings
from pipeline.store.sqlfiles import identifier, literal, sql

SOURCE = "postgres"
# A file is one transaction of ingest; after an interruption, complete files are not fetched again.
FILE_ROWS = 1_000_000
BATCH_BYTES = 16 << 20
# Stored hashes of landed rows (about 25 bytes each); further rows are landed again, and count once.
WINDOW_ROWS = 2_000_000
CONNECT_TIMEOUT_SECONDS = 10
_HELPERS = ("stamp_us", "row_hash")
_STATE_VERSION = b"1"
# Types of last_updated_at, and what "now" is in each; a time without zone is UTC.
_NOW = {"timestamptz": "transaction_timestamp()", "timestamp": "(transaction_timestamp() at time zone 'UTC')"}
_WINDOW_SCHEMA = pa.schema([("stamp_us", pa.int64()), ("row_hash", pa.binary())])


@dataclass(frozen=True)
class Pulled:
    """The result of a pull: landed rows, rows of the overlap that were landed before, and the new mark."""

    table: str
    rows: int
    rows_known: int
    files: tuple[Path, ...]
    up_to: datetime | None


@dataclass(frozen=True)
class _Table:
    """The application's table: its allow-listed columns, the type of its stamp, and its identity."""

    name: str
    columns: tuple[str, ...]
    stamp_kind: str
    identity: str


def pull(settings: Settings, *, everything: bool = False) -> Pulled:
    """Land the rows that are new or changed since the last pull; with `everything` all rows of the table.

    Raises:
        ConfigurationError: no database is configured; it cannot be reached or read; the table is another one than
            expected; another pull is under way. What was landed until then stays, and the next pull goes on from there.

    """
    dsn = settings.postgres_dsn.get_secret_value() if settings.postgres_dsn else ""
    if not dsn:
        # libpq would take an empty one for a server of this machine.
        raise ConfigurationError(
            "no database is configured: set TOKEN_ANALYTICS_POSTGRES_DSN, such as postgresql://reader@db.example/app"
        )
    with landing.opened(settings, SOURCE) as folder, _without_secrets(), _connected(dsn, settings) as cursor:
        table = _table(cursor, settings.postgres_table)
        window = None if everything else _Window.load(_state(settings), table.identity)
        return _pull(cursor, table, window or _Window(table.identity), settings, folder)


def _state(settings: Settings) -> Path:
    return settings.pulled / f"{SOURCE}.parquet"


@contextlib.contextmanager
def _connected(dsn: str, settings: Settings) -> Iterator[Any]:
    """A read-only cursor with a statement timeout and times in UTC."""
    from adbc_driver_postgresql import dbapi

    for option in (f"connect_timeout={CONNECT_TIMEOUT_SECONDS}", "application_name=token-analytics"):
        if option.split("=")[0] not in dsn:
            is_url = dsn.startswith(("postgresql://", "postgres://"))
            dsn += (("&" if "?" in dsn else "?") if is_url else " ") + option
    with dbapi.connect(dsn, autocommit=True) as connection, connection.cursor() as cursor:
        for name, value in {
            "default_transaction_read_only": "on",
            "statement_timeout": f"{settings.postgres_timeout_seconds * 1000:.0f}",
            "TimeZone": "UTC",
            "DateStyle": "ISO",
            "client_encoding": "UTF8",
        }.items():
            cursor.execute(f"SET {name} = {literal(value)}")
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
        yield cursor


def _table(cursor: Any, name: str) -> _Table:
    """The table's columns and identity from the catalogue.

    Raises:
        ConfigurationError: there is no such table, or it lacks a required column.

    """
    quoted = ".".join(identifier(part) for part in name.split("."))
    cursor.execute(sql("fetch/postgres/columns", table=literal(quoted)))
    found = cursor.fetch_arrow_table().to_pylist()
    if not found:
        raise ConfigurationError(f"postgres_table: the database has no table {name} that this user sees")
    kinds = {row["name"]: row["kind"] for row in found}
    if problem := usage_sessions.SHAPE.problem(tuple(kinds)):
        raise ConfigurationError(f"postgres_table: {name}: {problem}")
    kind = kinds["last_updated_at"]
    if kind not in _NOW:
        raise ConfigurationError(f"postgres_table: {name}: last_updated_at is of type {kind}: it has to be a timestamp")
    server = ""
    if found[0]["tells_server"]:
        cursor.execute(sql("fetch/postgres/server"))
        server = cursor.fetch_arrow_table().to_pylist()[0]["server"]
    columns = tuple(column for column in kinds if column in usage_sessions.SHAPE.known)
    return _Table(quoted, columns, kind, f"{server}/{found[0]['identity']}")


@dataclass
class _Window:
    """The mark of earlier pulls of a table, and the landed rows within the overlap before it."""

    identity: str
    mark_us: int | None = None
    rows: deque[pa.Table] = field(default_factory=deque)

    @classmethod
    def load(cls, path: Path, identity: str) -> _Window | None:
        """The state of the last pull; None if there is no usable state (a pull of everything is always correct)."""
        try:
            table = pq.read_table(path, memory_map=False)
            stored = table.schema.metadata or {}
            if (stored[b"version"], stored[b"identity"]) != (_STATE_VERSION, identity.encode()):
                return None
            return cls(identity, int(stored[b"mark_us"]), deque([table.cast(_WINDOW_SCHEMA)]))
        except (OSError, pa.ArrowException, KeyError, ValueError):
            return None

    def store(self, path: Path) -> None:
        """Store the state atomically."""
        if self.mark_us is None:
            return
        described = {"version": _STATE_VERSION, "identity": self.identity, "mark_us": str(self.mark_us)}
        table = pa.concat_tables(self.rows) if self.rows else _WINDOW_SCHEMA.empty_table()
        unfinished = landing.unfinished(path.parent, path.name)
        pq.write_table(table.replace_schema_metadata(described), unfinished, compression="zstd")
        landing.finish(unfinished, path.parent, path.name)

    def hashes(self) -> pa.ChunkedArray:
        """The hashes of the landed rows."""
        return pa.chunked_array([chunk for table in self.rows for chunk in table["row_hash"].chunks], pa.binary())

    def add(self, landed: pa.Table) -> None:
        """Add landed rows, in the order of their stamps (rows without a stamp last)."""
        self.rows.append(landed)
        latest = pc.max(landed["stamp_us"]).as_py()
        if latest is not None:
            self.mark_us = max(latest, self.mark_us or latest)

    def narrow(self, overlap_us: int) -> None:
        """Drop rows from before the overlap, and the oldest ones if there are too many."""
        if self.mark_us is None:
            return
        table = pa.concat_tables(self.rows)
        # every pull reads rows without a time
        recent = pc.fill_null(pc.greater_equal(table["stamp_us"], self.mark_us - overlap_us), True)
        self.rows = deque([table.filter(recent)[-WINDOW_ROWS:].combine_chunks()])


def _pull(cursor: Any, table: _Table, window: _Window, settings: Settings, folder: Path) -> Pulled:
    overlap = timedelta(seconds=settings.postgres_overlap_seconds)
    overlap_us = overlap // timedelta(microseconds=1)
    cursor.execute(_query(table, window.mark_us, overlap))
    known = window.hashes()
    # rows come in the order of their stamps, so the mark can move with each finished file
    window.rows = deque()
    began = datetime.now(UTC)
    files: list[Path] = []
    rows = rows_known = 0
    with contextlib.closing(_Files(folder, f"{began:%Y%m%dT%H%M%S%f}")) as landed:
        for batch in cursor.fetch_record_batch():
            read = pa.table(batch)
            fresh = read.filter(pc.invert(pc.is_in(read["row_hash"], value_set=known))) if len(known) else read
            rows, rows_known = rows + len(fresh), rows_known + len(read) - len(fresh)
            landed.write(fresh.drop_columns(list(_HELPERS)))
            window.add(read.select(_HELPERS).cast(_WINDOW_SCHEMA))
            if landed.rows >= FILE_ROWS:
                files += landed.finish()
                window.narrow(overlap_us)
                window.store(_state(settings))
        files += landed.finish()
    if window.rows:
        window.narrow(overlap_us)
        window.store(_state(settings))
    up_to = None if window.mark_us is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=window.mark_us)
    return Pulled(settings.postgres_table, rows, rows_known, tuple(files), up_to)


def _query(table: _Table, mark_us: int | None, overlap: timedelta) -> str:
    condition = "true"
    if mark_us is not None:
        since = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=mark_us) - overlap
        if table.stamp_kind == "timestamp":
            since = since.replace(tzinfo=None)
        condition = f"(last_updated_at >= {table.stamp_kind} {literal(since.isoformat())} or last_updated_at is null)"
    return sql(
        "fetch/postgres/rows",
        columns=", ".join(f"{identifier(name)}::text as {identifier(name)}" for name in table.columns),
        values=", ".join(identifier(name) for name in table.columns),
        now=_NOW[table.stamp_kind],
        table=table.name,
        condition=condition,
    )


class _Files:
    """Parquet files of rows; each file appears in the folder when it is complete.

    Rows without a paying key go to separate files without that column, because an empty cell in that column means the
    Workbench.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self.rows = 0
        self._folder, self._stem, self._number = folder, stem, 0
        self._writers: dict[str, pq.ParquetWriter] = {}

    def write(self, rows: pa.Table) -> None:
        if "api_key" in rows.column_names:
            self._write(rows.filter(pc.is_null(rows["api_key"])).drop_columns(["api_key"]))
            rows = rows.filter(pc.is_valid(rows["api_key"]))
        self._write(rows)

    def _write(self, rows: pa.Table) -> None:
        if not len(rows):
            return
        rows = rows.cast(pa.schema([(name, pa.string()) for name in rows.column_names]))
        name = next((name for name, open_ in self._writers.items() if open_.schema == rows.schema), "")
        if not name:
            self._number += 1
            name = f"token_usage_sessions-{self._stem}-{self._number:04}.parquet"
            path = landing.unfinished(self._folder, name)
            self._writers[name] = pq.ParquetWriter(path, rows.schema, compression="zstd")
        self._writers[name].write_table(rows)
        self.rows += len(rows)

    def finish(self) -> list[Path]:
        """Finish the open files, and return the complete ones."""
        names = list(self._writers)
        self.close()
        return [landing.finish(landing.unfinished(self._folder, name), self._folder, name) for name in names]

    def close(self) -> None:
        """Close the files; the next pull removes unfinished ones."""
        for writer in self._writers.values():
            writer.close()
        self._writers, self.rows = {}, 0


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """Replace the driver's errors by our own messages: the driver quotes the DSN, which contains secrets."""
    from adbc_driver_postgresql import dbapi

    try:
        yield
    except dbapi.Error as error:
        problem = _sentence(str(error), error.sqlstate or "")
    except (pa.ArrowException, OSError) as error:
        # during a transfer Arrow raises instead of the driver, without the SQLSTATE
        if "[libpq]" not in str(error):
            raise
        problem = _sentence(str(error), "")
    else:
        return
    raise ConfigurationError(problem) from None


def _sentence(message: str, sqlstate: str) -> str:
    """Our message for an error of the driver, without any of its text."""
    is_connecting = "Failed to connect" in message
    for sign, meaning in (_CONNECTING if is_connecting else _READING).items():
        if sign == sqlstate or sign in message:
            return f"PostgreSQL: {meaning}"
    if is_connecting:
        return f"PostgreSQL: cannot connect: check {_DSN} (its form, host, port and sslmode) and the server's log"
    return f"PostgreSQL: the statement failed{sqlstate and f' (SQLSTATE {sqlstate})'}: see the server's log"


_DSN = "TOKEN_ANALYTICS_POSTGRES_DSN"
_STAYS = "what was landed stays, and the next pull goes on there"
# Parts of libpq's messages while connecting, and our messages.
_CONNECTING = {
    "password authentication failed": f"the server refused the user or the password of {_DSN}",
    "no password supplied": f"the server wants a password: put it into {_DSN} or ~/.pgpass",
    "no pg_hba.conf entry": "the server does not let this user in from here (pg_hba.conf)",
    "could not translate host name": f"the host of {_DSN} is not known (in a URL, special characters of a password "
    "have to be percent-encoded)",
    "Connection refused": f"no server listens at the host and port of {_DSN}",
    "timeout expired": f"the host of {_DSN} does not answer",
    "does not exist": f"the server has no such database or user as {_DSN} names",
    "connection info string": f"{_DSN} is no DSN: give it as postgresql://user@host/database",
}
# SQLSTATEs, or parts of the message for errors of Arrow, which has no SQLSTATE.
_READING = {
    "42501": "this user may not read the table: grant select on it",
    "permission denied": "this user may not read all that the view reads",
    "read-only transaction": "reading the table would write: it is a view that changes data",
    "statement timeout": f"the statement took longer than postgres_timeout_seconds; {_STAYS} (an index on "
    "last_updated_at helps)",
    "server closed the connection": f"the server closed the connection; {_STAYS}",
    "terminating connection": f"the server closed the connection; {_STAYS}",
}
