"""The ledger of files, and the quarantine of unusable rows.

Belongs here: writing ingest.files, ingest.paths and ingest.rejected_rows, and the private text of rejected rows. Does
not belong here: loading rows (loader), and removing files (retraction).
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.ingest import discovery, formats, transcripts
from pipeline.ingest.sources.contract import Loaded, RejectedRow
from pipeline.settings import Settings
from pipeline.store.connection import transaction
from pipeline.store.sqlfiles import sql

# SQL for the first and last day of a file's usage; all other formats fill raw.requests.
_USAGE_DATES = {
    "token_usage_sessions": "ingest/usage_dates/token_usage_sessions",
    **{name: f"ingest/usage_dates/{side}" for name, (_, side) in formats.ACCOUNT_FORMATS.items()},
}


# Inserting in batches keeps a file of only bad rows from taking one statement per row.
REJECT_BATCH = 10_000


NO_USAGE = "no usage in it"


NO_USABLE_ROW = "none of its rows could be used"


@dataclass
class FoundFile:
    """A file that may be new: its size and times when it was listed, and its sha256, '' until it has been read."""

    file: discovery.LandedFile
    before: transcripts.Fingerprint
    sha256: str = ""


def quarantine(settings: Settings, sha256: str, rejected: Sequence[RejectedRow]) -> None:
    """Keep the text of rejected rows in the private quarantine, compressed, before the ledger commits."""
    if not rejected:
        return
    settings.quarantine.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = quarantine_file(settings, sha256)
    temporary = target.with_suffix(".next")
    with (
        os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed,
    ):
        for row in rejected:
            entry = {"line": row.line, "byte_offset": row.byte_offset, "reason": row.reason, "text": row.text}
            packed.write(json.dumps(entry, ensure_ascii=True).encode() + b"\n")
    temporary.replace(target)


def quarantine_file(settings: Settings, sha256: str) -> Path:
    """The file with the text of a file's rejected rows."""
    return settings.quarantine / f"{sha256}.jsonl.gz"


def enter(connection: duckdb.DuckDBPyConnection, shown: str, sha256: str, name: str, size: int, loaded: Loaded) -> None:
    """Enter a loaded file with its rejected rows, and mark it as pending for the next build."""
    connection.execute("DELETE FROM ingest.files WHERE file_sha256 = ?", [sha256])
    connection.execute(
        sql("ingest/enter_file", usage_dates=sql(_USAGE_DATES.get(name, "ingest/usage_dates/requests"))),
        {
            "sha256": sha256,
            "path": shown,
            "format": name,
            "grain": loaded.grain,
            "bytes": size,
            "rows_read": loaded.rows_read,
            "rows_loaded": loaded.rows_loaded,
            "rows_rejected": len(loaded.rejected),
            "rows_ignored": loaded.rows_ignored,
            "rows_repeated": loaded.rows_repeated,
            "message": _message(loaded),
        },
    )
    connection.execute("INSERT OR IGNORE INTO scope.pending_files VALUES (?)", [sha256])
    _enter_rejected(connection, [(sha256, shown, loaded)])


def _message(loaded: Loaded) -> str:
    """The ledger's message on a loaded file: the hint of its format, or that it holds no usage."""
    return loaded.message or ("" if loaded.rows_loaded else NO_USABLE_ROW if loaded.rejected else NO_USAGE)


def _enter_rejected(connection: duckdb.DuckDBPyConnection, files: Iterable[tuple[str, str, Loaded]]) -> None:
    """Enter the rejected rows of files, each with its sha256 and its path."""
    rows = (
        (sha256, shown, row.line, row.byte_offset, row.reason, row.column_name, row.value)
        for sha256, shown, loaded in files
        for row in loaded.rejected
    )
    while batch := list(itertools.islice(rows, REJECT_BATCH)):
        connection.execute(sql("ingest/enter_rejected"), [list(column) for column in zip(*batch, strict=True)])


def enter_together(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    files: Sequence[tuple[FoundFile, Loaded]],
    days: Mapping[str, tuple[date, date]],
) -> None:
    """Enter files that were stored in one transaction; `days` has the first and last day of usage of each sha256."""
    of_files = [days.get(found.sha256, (None, None)) for found, _ in files]
    ledger = pa.table(
        {
            "file_sha256": [found.sha256 for found, _ in files],
            "path": [found.file.shown for found, _ in files],
            "format": pa.repeat(name, len(files)),
            "grain": [loaded.grain for _, loaded in files],
            "bytes": [found.before[0] for found, _ in files],
            "first_usage_date": pa.array([first for first, _ in of_files], pa.date32()),
            "last_usage_date": pa.array([last for _, last in of_files], pa.date32()),
            "rows_read": [loaded.rows_read for _, loaded in files],
            "rows_loaded": [loaded.rows_loaded for _, loaded in files],
            "rows_rejected": [len(loaded.rejected) for _, loaded in files],
            "rows_ignored": [loaded.rows_ignored for _, loaded in files],
            "rows_repeated": [loaded.rows_repeated for _, loaded in files],
            "message": [_message(loaded) for _, loaded in files],
        }
    )
    with _registered(connection, "entered_files", ledger):
        run_statements(connection, sql("ingest/enter_files"))
    _enter_rejected(connection, ((found.sha256, found.file.shown, loaded) for found, loaded in files))


def run_statements(connection: duckdb.DuckDBPyConnection, statements: str) -> None:
    """Run statements one after the other."""
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(statement).fetchall()


@contextlib.contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    """Let SQL read an Arrow table by a name; earlier results of the connection must be fetched completely."""
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)


def note(
    connection: duckdb.DuckDBPyConnection, sha256: str, shown: str, name: str, size: int, status: str, message: str
) -> None:
    """Write the ledger row of a file that was not loaded; an equal row stays unchanged."""
    with transaction(connection):
        connection.execute(sql("ingest/drop_other_note"), [sha256, status, message])
        connection.execute(sql("ingest/enter_note"), [sha256, shown, name, size, status, message])


def remember(connection: duckdb.DuckDBPyConnection, files: Sequence[FoundFile]) -> None:
    """Store the paths of these contents, so that the next run does not read them."""
    if files:
        path, sha256, size, modified, changed = zip(
            *((found.file.shown, found.sha256, *found.before) for found in files), strict=True
        )
        places = {"path": path, "file_sha256": sha256, "bytes": size, "modified_ns": modified, "changed_ns": changed}
        with _registered(connection, "places", pa.table({name: pa.array(values) for name, values in places.items()})):
            connection.execute("INSERT OR REPLACE INTO ingest.paths BY NAME FROM places").fetchall()
