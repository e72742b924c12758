"""The private DuckDB file: opening it, and publishing its tables.

Belongs here: the lock of a home, the only function that opens warehouse.duckdb, and `publish`, which writes the files
that people open. Does not belong here: what the tables mean (ingest, dbt_project, analysis, pricing).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import duckdb
import pyarrow as pa

from pipeline.settings import ConfigurationError, Settings, memory_bytes
from pipeline.store import progress
from pipeline.store.connection import transaction
from pipeline.store.sqlfiles import identifier, literal, sql

PUBLISHED_SCHEMAS = ("ingest", "marts", "analysis")
# DuckDB 1.2 and later open files of this storage version; only the newest clients open the newest format.
STORAGE_VERSION = "v1.2.0"
# DuckDB's share of the setting memory_limit. Python and its libraries take about 500 MB beside it: from a limit
# of 700 MB on, a run keeps within 300 MB of it.
DUCKDB_SHARE = 0.7

# Messages of the system, SQLite and DuckDB about a full disk or an exhausted quota.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "disk is full")
# SQLite may also say "disk I/O error", and DuckDB "database is invalid": with less than this free, the disk is full.
_FULL_BYTES = 1 << 20

# Statements that only read; PIVOT becomes MULTI.
_QUERIES = (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI)
_EXPLAIN = re.compile(r"(\s|--[^\n]*\n|/\*.*?\*/)*explain\s+(analyze\b\s*)?(\([^)]*\))?", re.IGNORECASE | re.DOTALL)

# Messages of DuckDB if it finds the damage only after opening the file.
_DAMAGED = re.compile(r"Corrupt database file[^\n]*|Could not read enough bytes from file[^\n]*")
_locks: dict[Path, IO[str]] = {}
# Homes whose tables this process has created or checked, while it holds their lock.
_prepared: set[Path] = set()


def make_home(settings: Settings) -> None:
    """Create the folders of a home, private to the user (0700), and make all new files of this process private.

    With `published_group`, that group may pass through the home and read outputs/.

    Raises:
        ConfigurationError: the home cannot be written to, or cannot be given to the group.

    """
    os.umask(0o077)
    for folder in (settings.home, settings.outputs, settings.reports, settings.dagster_home, settings.quarantine):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"cannot create {folder}: {error.strerror}; choose another --home") from None
    if settings.published_group:
        _give_to_group(settings.home, settings.published_group, 0o010)
        _give_to_group(settings.outputs, settings.published_group, 0o050)


def share(settings: Settings, *files: Path) -> None:
    """Let the setting `published_group` read these files below the home, and pass through their folders."""
    if settings.published_group:
        for folder in {parent for file in files for parent in file.parents if parent.is_relative_to(settings.home)}:
            _give_to_group(folder, settings.published_group, 0o010)
        for file in files:
            _give_to_group(file, settings.published_group, 0o040)


def _give_to_group(path: Path, group: str, bits: int) -> None:
    """Add these mode bits to `path` for `group`."""
    try:
        number = grp.getgrnam(group).gr_gid
        if path.stat().st_gid != number:
            os.chown(path, -1, number)
        path.chmod(path.stat().st_mode & 0o7777 | bits)
    except KeyError:
        raise ConfigurationError(f"published_group: there is no group {group!r}") from None
    except PermissionError:
        raise ConfigurationError(f"published_group: this user cannot give {path} to group {group!r}") from None


def acquire_lock(settings: Settings, on_wait: Callable[[str], None] | None = None) -> None:
    """Take the home's writer lock for this process; taking it again is free.

    The kernel drops the lock when its holder dies, so a lock left behind by a crash never blocks.

    Raises:
        ConfigurationError: another run still holds it after `settings.lock_timeout_seconds`; the message names it.

    """
    if settings.home in _locks:
        return
    make_home(settings)
    path = settings.home / "warehouse.lock"
    handle = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
    deadline = time.monotonic() + settings.lock_timeout_seconds
    has_reported = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = _holder(path)
            if not has_reported and on_wait:
                on_wait(f"waiting for another run on {settings.home} ({holder})")
                has_reported = True
            if time.monotonic() >= deadline:
                handle.close()
                raise ConfigurationError(
                    f"another run holds {settings.home} ({holder}) and did not end within "
                    f"{settings.lock_timeout_seconds:g} s; wait for it, or raise lock_timeout_seconds"
                ) from None
            time.sleep(0.2)
    handle.seek(0)
    handle.truncate()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": started}, handle)
    handle.flush()
    _locks[settings.home] = handle


def release_lock(settings: Settings) -> None:
    """Release the writer lock; without it this does nothing."""
    _prepared.discard(settings.home)
    if handle := _locks.pop(settings.home, None):
        handle.close()


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "a process that has just started"


def refuse_damaged(settings: Settings, *messages: str) -> None:
    """Raise an error if the error messages `messages` say that the private file is damaged; else do nothing.

    Raises:
        ConfigurationError: the file is damaged.

    """
    for message in messages:
        if found := _DAMAGED.search(message):
            raise ConfigurationError(_damaged(settings, found.group())) from None


def _damaged(settings: Settings, message: str) -> str:
    return (
        f"{settings.warehouse} is damaged ({message}): restore a backup of it, or delete it and run again, which loads "
        "all landed files anew (docs/troubleshooting.md says what is lost)"
    )


def refuse_full_disk(settings: Settings, *messages: str) -> None:
    """Raise an error if the disk is full, by the error messages `messages` or by its free space; else do nothing.

    Raises:
        ConfigurationError: the disk is full; nothing that was published or committed is lost.

    """
    is_stated = any(phrase in message for phrase in _FULL for message in messages)
    if is_stated or shutil.disk_usage(settings.home).free < _FULL_BYTES:
        raise ConfigurationError(
            f"the disk of {settings.home} is full: free some space and run again (the published tables are unchanged)"
        ) from None


def threads(settings: Settings) -> int:
    """How many threads or processes may work at a time."""
    return settings.threads or os.cpu_count() or 1


def connection_config(settings: Settings) -> dict[str, str]:
    """DuckDB's configuration, the same wherever this process opens the private file."""
    return {
        "memory_limit": f"{_memory_bytes(settings)}B",
        "threads": str(threads(settings)),
        "TimeZone": "UTC",
        "autoinstall_known_extensions": "false",
        "preserve_insertion_order": "false",
        # One checkpoint when the file is closed, not one in the middle of a night's models (16 MB by default).
        "checkpoint_threshold": "128MB",
        # A checkpoint that merges all small row groups of a first load rewrites the table: 3 s and 450 MB for 2e6 lines
        # of transcripts. One at a time is enough for nightly loads.
        "max_vacuum_tasks": "1",
        "write_buffer_row_group_count": "1",
        "temp_directory": str(settings.home / "warehouse.duckdb.tmp"),
    }


def _memory_bytes(settings: Settings) -> int:
    """DuckDB's share of the setting memory_limit."""
    return int(memory_bytes(settings.memory_limit) * DUCKDB_SHARE)


@contextlib.contextmanager
def connect(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the private file, under the home's lock; closed at the end.

    Raises:
        ConfigurationError: another program holds the file, or it is damaged.

    """
    acquire_lock(settings)
    existed = settings.warehouse.exists()
    deadline = time.monotonic() + settings.lock_timeout_seconds
    while True:
        try:
            connection = duckdb.connect(str(settings.warehouse), config=dict(connection_config(settings)))
            break
        except duckdb.Error as error:
            # DuckDB names the process that holds the file: usually a shell.
            message = str(error).splitlines()[0]
            if "Conflicting lock" not in message:
                raise ConfigurationError(_damaged(settings, message)) from None
            if time.monotonic() >= deadline:
                raise ConfigurationError(
                    f"cannot open {settings.warehouse}: {message}; close that program (query "
                    f"{settings.published.name} instead, which never blocks a run)"
                ) from None
            progress.report(progress.WAITING, what=message)
            time.sleep(0.2)
    try:
        if not existed:
            settings.warehouse.chmod(0o600)
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"SET VARIABLE memory_bytes = {_memory_bytes(settings)}")
        if not existed or settings.home not in _prepared:
            connection.execute(sql("ingest/schema"))
            _prepared.add(settings.home)
        yield connection
    except duckdb.Error as error:
        refuse_damaged(settings, str(error))
        raise
    finally:
        connection.close()


def connect_published(settings: Settings) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the database that the last complete run published.

    It cannot use other files, extensions or the network, and no statement can change that.

    Raises:
        ConfigurationError: nothing is published yet, or the file cannot be opened.

    """
    if not settings.published.exists():
        raise ConfigurationError(
            f"nothing is published in {settings.home} yet: run `token-analytics run --home {settings.home}` first"
        )
    try:
        connection = duckdb.connect(
            str(settings.published),
            read_only=True,
            config={
                "TimeZone": "UTC",
                "autoinstall_known_extensions": "false",
                "enable_external_access": "false",
                # Variables of this program must not be readable as tables.
                "python_enable_replacements": "false",
            },
        )
    except duckdb.Error as error:
        message = str(error).splitlines()[0]
        raise ConfigurationError(
            f"cannot open {settings.published}: {message}; `token-analytics run --home {settings.home}` rewrites it"
        ) from None
    # DuckDB draws its progress bar on standard output, even into a pipe.
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET lock_configuration = true")
    return connection


def refuse_writing(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Refuse statements that are not queries: DuckDB lets COPY write beside the open file, whatever is switched off.

    Raises:
        ConfigurationError: a statement is not a query.
        duckdb.Error: the text is not valid SQL.

    """
    for statement in connection.extract_statements(text):
        kind = statement.type
        if kind == duckdb.StatementType.EXPLAIN:
            # EXPLAIN ANALYZE executes its statement.
            explained = _EXPLAIN.sub("", statement.query, count=1)
            kind = next((each.type for each in connection.extract_statements(explained)), kind)
        if kind not in _QUERIES:
            raise ConfigurationError(f"query: only queries are run, not {kind.name}: begin with SELECT or FROM")


def description(described: pa.Schema | pa.Field) -> str:
    """The description of a table of schema analysis, or of a column, from its metadata."""
    return str((described.metadata or {}).get(b"description", b"").decode())


def write_analysis(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Replace analysis.<name>, with the descriptions of the table and of its columns, in one transaction."""
    target = f"analysis.{identifier(name)}"
    try:
        progress.handled(table.num_rows)
        with transaction(connection):
            connection.register("built_arrow", table)
            connection.execute(f"CREATE OR REPLACE TABLE {target} AS FROM built_arrow")
            connection.execute(f"COMMENT ON TABLE {target} IS {literal(description(table.schema))}")
            for field in table.schema:
                column = f"{target}.{identifier(field.name)}"
                connection.execute(f"COMMENT ON COLUMN {column} IS {literal(description(field))}")
    finally:
        connection.unregister("built_arrow")


def publish(connection: duckdb.DuckDBPyConnection, settings: Settings) -> dict[str, int]:
    """Write `token_analytics.duckdb` and `outputs/*.parquet` from the warehouse, each in one atomic step.

    Only the schemas ingest, marts and analysis are published: raw records stay in the private file by construction.
    Readers with the former file open keep reading it; the next open sees the new one.

    Returns:
        Rows of each published table, by `schema.table`.

    """
    target = settings.published.with_name(f".{settings.published.name}.next")
    # Left by a run that was killed while it published.
    _discard(target)
    try:
        rows = _write_published(connection, target)
    except BaseException:
        # On a full disk, half a file would take space from everything else.
        _discard(target)
        raise
    for table in (name.removeprefix("analysis.") for name in rows if name.startswith("analysis.")):
        _write_parquet(connection, table, settings)
    replace(target, settings.published, settings)
    return rows


def _discard(database: Path) -> None:
    """Delete an unfinished database, and its log."""
    for file in (database, database.with_name(f"{database.name}.wal")):
        file.unlink(missing_ok=True)


def _write_published(connection: duckdb.DuckDBPyConnection, target: Path) -> dict[str, int]:
    """Copy the published schemas into a new database; returns the rows of each table."""
    tables = [
        (str(schema), str(table))
        for schema, table in connection.execute(sql("store/publish/tables"), [list(PUBLISHED_SCHEMAS)]).fetchall()
    ]
    rows: dict[str, int] = {}
    connection.execute(f"ATTACH {literal(str(target))} AS published (STORAGE_VERSION {literal(STORAGE_VERSION)})")
    try:
        for schema in PUBLISHED_SCHEMAS:
            connection.execute(f"CREATE SCHEMA published.{schema}")
        for schema, table in tables:
            name = f"{schema}.{identifier(table)}"
            connection.execute(f"CREATE TABLE published.{name} AS FROM {name}")
            count = connection.execute(f"SELECT count(*) FROM published.{name}").fetchone()
            rows[f"{schema}.{table}"] = int(count[0]) if count else 0
        for schema, table, column, comment in connection.execute(
            sql("store/publish/comments"), [list(PUBLISHED_SCHEMAS)]
        ).fetchall():
            what = f"published.{schema}.{identifier(table)}"
            kind, what = ("COLUMN", f"{what}.{identifier(column)}") if column else ("TABLE", what)
            connection.execute(f"COMMENT ON {kind} {what} IS {literal(comment)}")
        connection.execute("CHECKPOINT published")
    finally:
        connection.execute("DETACH published")
    return rows


def _write_parquet(connection: duckdb.DuckDBPyConnection, table: str, settings: Settings) -> None:
    settings.outputs.mkdir(mode=0o700, parents=True, exist_ok=True)
    final = settings.outputs / f"{table}.parquet"
    following = final.with_name(f".{final.name}.next")
    try:
        connection.execute(
            f"COPY (FROM analysis.{identifier(table)}) TO {literal(str(following))} (FORMAT parquet, COMPRESSION zstd)"
        )
        replace(following, final, settings)
    except BaseException:
        following.unlink(missing_ok=True)
        raise


def published_state(settings: Settings) -> str:
    """One value for the published files: their names, sizes and modification times."""
    paths = [settings.published, *sorted(settings.outputs.glob("*"))]
    state = [
        (path.name, path.is_file(), path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.exists()
    ]
    return hashlib.sha256(repr(state).encode()).hexdigest()


def replace(source: Path, target: Path, settings: Settings) -> None:
    """Move a finished file over `target` so that readers see the old one or the new one, never a part."""
    source.chmod(0o600)
    if settings.published_group:
        _give_to_group(source, settings.published_group, 0o040)
    if target.is_dir():
        # A folder of another owner: moved away, not deleted.
        target.rename(target.with_name(f"{target.name}.{time.time_ns()}.set-aside"))
    rename_durably(source, target)


def rename_durably(source: Path, target: Path) -> None:
    """Move a finished file over `target`; after this returns, it survives a power cut."""
    with source.open("rb") as handle:
        os.fsync(handle.fileno())
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the directory entries of `folder` are on disk."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
