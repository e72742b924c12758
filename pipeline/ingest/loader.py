"""Loads each landed file, or a batch of transcripts, in one transaction with its ledger row.

1. `ingest` lists the files of landing and of `sources` (`discovery`) and skips those that have not changed.
2. `transcripts` reads, hashes and parses small files in bulk; `_Loading` stores them in batches.
3. `_take` loads any other file alone, with its format (`formats`).
4. `retry_rejected` reloads files that had rejected rows.

Does not belong here: the definition of a format (sources), the ledger's rows (ledger), removing rows (retraction),
and which of several records of the same usage counts (dbt_project).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline import limits
from pipeline.ingest import discovery, formats, ledger, retraction, transcripts
from pipeline.ingest.sources import claude_code
from pipeline.ingest.sources.base import streaming
from pipeline.ingest.sources.contract import Loaded, Source, SourceError
from pipeline.settings import ConfigurationError, Settings
from pipeline.store import redaction, warehouse
from pipeline.store.connection import transaction
from pipeline.store.sqlfiles import literal, sql

# Files per transaction if their format allows batches: smaller batches cost time, larger ones memory. One and a half of
# DuckDB's row groups, since it rewrites two partial groups that together make one.
BATCH_FILES = 5000
BATCH_ROWS = 184_320
# Text of rejected rows that waits to be written to the quarantine.
BATCH_REJECTED_CHARACTERS = 1 << 26

GONE = "is gone or has changed: its rows stay as they are"
# Value of the ledger's column format for side files of tools.
SIDE_FILE = "side_file"

Progress = Callable[[int, int, str], None]  # done, total, what


@dataclass
class IngestSummary:
    """Counts of one run over landing."""

    files_seen: int = 0
    files_unchanged: int = 0
    files_loaded: int = 0
    files_unrecognised: int = 0
    files_failed: int = 0
    # Side files of tools.
    files_ignored: int = 0
    # Among the loaded files.
    files_without_usage: int = 0
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    rows_ignored: int = 0
    rows_repeated: int = 0
    problems: list[str] = field(default_factory=list)
    # Files and folders that cannot be read, with the reason.
    unread: dict[str, str] = field(default_factory=dict)

    def add(self, loaded: Loaded) -> None:
        """Count a loaded file."""
        self.files_loaded += 1
        self.files_without_usage += not loaded.rows_loaded
        self.rows_read += loaded.rows_read
        self.rows_loaded += loaded.rows_loaded
        self.rows_rejected += len(loaded.rejected)
        self.rows_ignored += loaded.rows_ignored
        self.rows_repeated += loaded.rows_repeated

    def add_unread(self, shown: str, message: str) -> None:
        """Count a file or folder that cannot be read."""
        self.unread[shown] = message
        self.problems.append(f"{shown}: {message}")
        self.files_failed += 1


def ingest(
    connection: duckdb.DuckDBPyConnection, settings: Settings, progress: Progress | None = None
) -> IngestSummary:
    """Load every file of landing, and of `settings.sources`, whose content is not in the ledger yet.

    Raises:
        ConfigurationError: there are no files now, and none were loaded before.

    """
    create_macros(connection, settings)
    summary = IngestSummary()
    discovered = discovery.discover(settings)
    files = discovered.files
    if not files and not discovered.refused and not _has_history(connection):
        raise ConfigurationError(_nothing_to_read(settings))
    for shown, message in discovered.refused:
        summary.add_unread(shown, message)
    seen = {
        path: (sha256, (size, modified, changed))
        for path, sha256, size, modified, changed in connection.execute("FROM ingest.paths").fetchall()
    }
    status = dict(connection.execute("SELECT file_sha256, status FROM ingest.files").fetchall())
    found: list[ledger.FoundFile] = []
    wanted: list[transcripts.Wanted] = []
    for file, before in zip(files, _settled(files, settings.settle_seconds), strict=True):
        summary.files_seen += 1
        if discovery.is_copy(file.shown):
            summary.files_ignored += 1
            continue
        if isinstance(before, OSError):
            _cannot_be_read(settings, summary, file, before)
            continue
        known, fingerprint = seen.get(file.shown, ("", None))
        if fingerprint == before and status.get(known) in ("loaded", "forgotten"):
            summary.files_unchanged += 1
        else:
            found.append(ledger.FoundFile(file, before))
            wanted.append(transcripts.Wanted(str(file.path), before, known, is_unchanged=fingerprint == before))
    done = itertools.count(summary.files_unchanged)

    def report(file: discovery.LandedFile) -> None:
        if progress:
            progress(next(done), len(files), file.shown)

    remaining = iter(found)
    with (
        _Loading(connection, settings, summary, status, report) as loading,
        contextlib.closing(transcripts.portions(wanted, warehouse.threads(settings))) as portions,
    ):
        for portion in portions:
            loading.take(list(itertools.islice(remaining, len(portion.outcomes))), portion)
        loading.finish()
    _note_unread(connection, summary.unread)
    retraction.drop_rejected_of_forgotten(connection, settings)
    if progress:
        progress(len(files), len(files), "")
    return summary


def create_macros(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Create the macros of the readers, with the limits of a run that starts now; this process uses these limits too.

    Only connections that load files have them: a run opens some thirty, and parsing the macros takes longer than that.
    """
    limits.use(bounds := settings.limits())
    macros = sql(
        "ingest/macros",
        secret=literal(redaction.SECRET),
        first_moment=literal(f"{bounds.first:%Y-%m-%d %H:%M:%S}"),
        end_moment=literal(f"{bounds.end:%Y-%m-%d %H:%M:%S.%f}"),
        max_tokens=str(bounds.tokens),
        max_usd=str(bounds.usd),
    )
    connection.execute(macros)


def _cannot_be_read(settings: Settings, summary: IngestSummary, file: discovery.LandedFile, error: OSError) -> None:
    warehouse.refuse_full_disk(settings, str(error))
    summary.add_unread(file.shown, error.strerror or "cannot be read")


def _note_unread(connection: duckdb.DuckDBPyConnection, unread: Mapping[str, str]) -> None:
    """Write ledger rows of unreadable files and folders, replacing those of earlier runs."""
    notes = {_unread_key(shown): (shown, message) for shown, message in unread.items()}
    connection.execute(sql("ingest/drop_read"), [list(notes)])
    for key, (shown, message) in notes.items():
        ledger.note(connection, key, shown, "", 0, "failed", message)


def _unread_key(shown: str) -> str:
    """Replacement for the sha256 of a file that cannot be read."""
    return f"refused:{hashlib.sha256(shown.encode()).hexdigest()}"


def retry_rejected(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """Reload files with rejected rows, and files that failed to load, from their paths.

    A file's rows, rejected rows and ledger row are replaced in one transaction. A file that is gone, has changed or is
    unusable now keeps its rows.

    Returns:
        One line for each file with another result or that could not be tried, and one that counts the others. The next
        build takes the changes into the marts.

    Raises:
        ConfigurationError: a folder in `settings.sources` does not exist.

    """
    create_macros(connection, settings)
    discovered = discovery.discover(settings)
    here = {file.shown: file for file in discovered.files}
    still_refused = {shown for shown, _ in discovered.refused}
    still_refused |= {shown for shown, file in here.items() if not os.access(file.path, os.R_OK)}
    lines: list[str] = []
    as_before = 0
    for sha256, shown, status, rejected, places in connection.execute(sql("ingest/retry/find")).fetchall():
        if sha256.startswith("refused:"):
            if shown in still_refused:
                as_before += 1
            elif shown in here:
                connection.execute("DELETE FROM ingest.files WHERE file_sha256 = ?", [sha256])
                lines.append(f"{shown}: was refused, is now a file that a run loads")
            else:
                lines.append(f"{shown}: {GONE}")
            continue
        try:
            file = next(
                (
                    here[place]
                    for place in places
                    if place in here and transcripts.sha256_of(here[place].path) == sha256
                ),
                None,
            )
            if file is None:
                lines.append(f"{shown}: {GONE}")
                continue
            summary = IngestSummary()
            after = _take(
                connection, settings, ledger.FoundFile(file, file.fingerprint(), sha256), summary, instead_of=status
            )
        except OSError as error:
            warehouse.refuse_full_disk(settings, str(error))
            lines.append(f"{shown}: {error.strerror or 'cannot be read'}")
            continue
        was, now = _outcome(status, rejected), _outcome(after, summary.rows_rejected)
        if not after:
            lines += summary.problems
        elif was != now:
            lines.append(f"{file.shown}: was {was}, is now {now}")
        else:
            as_before += 1
    return [*lines, f"{as_before:,} files with the same result as before"] if as_before or not lines else lines


def _outcome(status: str, rejected: int) -> str:
    return f"loaded with {rejected:,} rejected rows" if status == "loaded" else status


def refuse_no_home(settings: Settings) -> None:
    """Refuse a folder without files to load and without a warehouse, before anything is written into it.

    Raises:
        ConfigurationError: the home is such a folder.

    """
    if settings.warehouse.exists() or settings.sources or any(path.is_file() for path in settings.landing.rglob("*")):
        return
    raise ConfigurationError(_nothing_to_read(settings))


def _nothing_to_read(settings: Settings) -> str:
    logs = [f"~/{name}" for name in (".claude/projects", ".codex/sessions") if (Path.home() / name).is_dir()]
    hint = f" (found logs in {' and '.join(logs)}: add them to `sources` in token_analytics.toml)" if logs else ""
    return f"no files in {settings.landing}: put exports and logs there, in any folder{hint}"


def _has_history(connection: duckdb.DuckDBPyConnection) -> bool:
    return connection.execute("SELECT 1 FROM ingest.files LIMIT 1").fetchone() is not None


def _settled(files: Sequence[discovery.LandedFile], settle_seconds: float) -> list[transcripts.Fingerprint | OSError]:
    """Size and times of each file, after waiting at most `settle_seconds` until no file is younger than that."""
    fingerprints = [_fingerprint(file) for file in files]
    now = time.time()
    ages = [now - each[1] / 1e9 for each in fingerprints if not isinstance(each, OSError)]
    youngest = min(ages, default=settle_seconds)
    if 0 <= youngest < settle_seconds:
        time.sleep(settle_seconds - youngest)
        return [_fingerprint(file) for file in files]
    return fingerprints


def _fingerprint(file: discovery.LandedFile) -> transcripts.Fingerprint | OSError:
    try:
        return file.fingerprint()
    except OSError as error:
        return error


class _Loading:
    """Loads files into the raw tables: small transcripts in batches, all others one by one.

    A thread stores a batch while the next one is read; nothing else uses the connection meanwhile.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        settings: Settings,
        summary: IngestSummary,
        status: dict[str, str],
        report: Callable[[discovery.LandedFile], None],
    ) -> None:
        self._connection = connection
        self._report = report
        self._settings = settings
        self._summary = summary
        self._status = status
        self._rows: list[pa.Table] = []
        self._rejected_characters = 0
        self._waiting: dict[str, tuple[ledger.FoundFile, Loaded]] = {}
        self._storing: dict[str, tuple[ledger.FoundFile, Loaded]] = {}
        self._copies: list[ledger.FoundFile] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._stored: Future[None] | None = None

    def __enter__(self) -> _Loading:
        return self

    def __exit__(self, *failure: object) -> None:
        """Wait for the batch that is being stored; drop files that wait for a batch, as after any failure."""
        self._thread.shutdown()

    def take(self, files: Sequence[ledger.FoundFile], portion: transcripts.Portion) -> None:
        """Load a portion of files that were read, now or with a batch."""
        first = following = 0
        loaded_before: list[ledger.FoundFile] = []
        for found, outcome in zip(files, portion.outcomes, strict=True):
            self._report(found.file)
            found.sha256, loaded = outcome.sha256, outcome.loaded
            begin, following = following, following + (loaded.rows_loaded if loaded else 0)
            if outcome.error:
                _cannot_be_read(self._settings, self._summary, found.file, outcome.error)
            elif self._status.get(found.sha256) in ("loaded", "forgotten"):
                loaded_before.append(found)
            elif found.sha256 in self._waiting or found.sha256 in self._storing:
                self._copies.append(found)
            elif loaded:
                self._waiting[found.sha256] = found, loaded
                self._rejected_characters += sum(len(row.text) for row in loaded.rejected)
                continue
            else:
                self._settle()
                self._take_alone(found)
            # Excludes the rows of this file, if it has any.
            self._add_rows(portion.rows.slice(first, begin - first))
            first = following
        self._add_rows(portion.rows.slice(first, following - first))
        self._remember(loaded_before)
        if (
            len(self._waiting) >= BATCH_FILES
            or sum(rows.num_rows for rows in self._rows) >= BATCH_ROWS
            or self._rejected_characters >= BATCH_REJECTED_CHARACTERS
        ):
            self._store()

    def _add_rows(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self._rows.append(rows)

    def finish(self) -> None:
        """Load the files that still wait."""
        self._store()
        self._settle()
        copies, self._copies = self._copies, []
        self._remember(copies)

    def _remember(self, files: Sequence[ledger.FoundFile]) -> None:
        """Store the paths of files whose content is already loaded."""
        if files:
            self._settle()
            ledger.remember(self._connection, files)
            self._summary.files_unchanged += len(files)

    def _take_alone(self, found: ledger.FoundFile) -> None:
        try:
            self._status[found.sha256] = _take(self._connection, self._settings, found, self._summary)
        except OSError as error:
            _cannot_be_read(self._settings, self._summary, found.file, error)

    def _store(self) -> None:
        """Start to store the waiting files."""
        self._settle()
        if self._waiting:
            self._storing = self._waiting
            files = list(self._storing.values())
            self._stored = self._thread.submit(_take_together, self._connection, self._settings, self._rows, files)
        self._waiting, self._rows, self._rejected_characters = {}, [], 0

    def _settle(self) -> None:
        """Wait until the current batch is stored."""
        if not self._stored:
            return
        stored, storing = self._stored, list(self._storing.values())
        self._stored, self._storing = None, {}
        try:
            stored.result()
        except (duckdb.Error, OSError) as error:
            warehouse.refuse_full_disk(self._settings, str(error))
            if len(storing) > 1:
                self._summary.problems.append(
                    f"{storing[0][0].file.shown} and {len(storing) - 1} more: could not be stored together "
                    f"({type(error).__name__}); stored one by one instead, which takes longer"
                )
            for found, _ in storing:
                self._take_alone(found)
            return
        self._status.update((found.sha256, "loaded") for found, _ in storing)
        for _, loaded in storing:
            self._summary.add(loaded)


def _take_together(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    rows: Sequence[pa.Table],
    files: Sequence[tuple[ledger.FoundFile, Loaded]],
) -> None:
    """Store transcripts in one transaction, with their ledger rows."""
    sha256s = [found.sha256 for found, _ in files]
    with streaming(connection, in_order=True), transaction(connection):
        days = claude_code.store(connection, pa.concat_tables(rows)) if rows else {}
        retraction.keep_out(connection, sha256s)
        for found, loaded in files:
            ledger.quarantine(settings, found.sha256, loaded.rejected)
        ledger.enter_together(connection, claude_code.FORMAT, files, days)
        connection.execute(sql("ingest/forget/mark_kept_out"), [sha256s])
        ledger.remember(connection, [found for found, _ in files])


def _take(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    found: ledger.FoundFile,
    summary: IngestSummary,
    instead_of: str = "",
) -> str:
    """Load one file in one transaction with its ledger row; returns its status, '' if nothing was changed.

    For a file that is loaded again, `instead_of` is its status in the ledger.
    """
    file, sha256, before = found.file, found.sha256, found.before
    source: Source | None = None
    # A format may restart the transaction, so the former rows are deleted after it: until then the keys differ.
    key = f"again:{sha256}" if instead_of else sha256
    connection.execute("BEGIN")
    try:
        source, probe = formats.recognise(file.path)
        loaded = source.load(connection, probe, key)
        if file.fingerprint() != before:
            connection.execute("ROLLBACK")
            summary.problems.append(f"{file.shown}: is still being written; the next run reads it")
            return ""
        if instead_of:
            retraction.replace(connection, sha256, key)
        retraction.keep_out(connection, [sha256])
        ledger.quarantine(settings, sha256, loaded.rejected)
        ledger.enter(connection, file.shown, sha256, source.FORMAT, before[0], loaded)
        connection.execute(sql("ingest/forget/mark_kept_out"), [[sha256]])
        ledger.remember(connection, [found])
        connection.execute("COMMIT")
    except (SourceError, duckdb.Error) as error:
        # Not the file's fault, and a commit that failed leaves nothing to roll back.
        warehouse.refuse_full_disk(settings, str(error))
        connection.execute("ROLLBACK")
        # DuckDB's own messages quote the data, so they stop here; SourceError is written for the ledger.
        message = str(error) if isinstance(error, SourceError) else f"could not be read ({type(error).__name__})"
        if instead_of == "loaded":
            summary.problems.append(f"{file.shown}: {message}; what was loaded of it stays")
            return ""
        status = "unrecognised" if isinstance(error, formats.UnrecognisedError) else "failed"
        name = source.FORMAT if source else getattr(error, "format", "")
        is_side_file = status == "unrecognised" and discovery.is_side_file(file.shown)
        if is_side_file:
            name, message = SIDE_FILE, "a tool keeps it beside its logs: no usage in it"
        ledger.note(connection, sha256, file.shown, name, before[0], status, message)
        ledger.remember(connection, [found])
        if is_side_file:
            summary.files_ignored += 1
            return status
        summary.problems.append(f"{file.shown}: {message}")
        summary.files_unrecognised += status == "unrecognised"
        summary.files_failed += status == "failed"
        return status
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    if instead_of and not loaded.rejected:
        ledger.quarantine_file(settings, sha256).unlink(missing_ok=True)
    summary.add(loaded)
    return "loaded"
