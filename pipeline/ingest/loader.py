"""From files in landing to raw tables: find, have read, load in one transaction a file or batch, quarantine, note down.

Belongs here: what happens to a file as a whole. Does not belong here: reading many of them quickly (reading), what
stands in one (sources), and which of several records of the same usage is in force (dbt_project).
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.ingest import discovery, transcripts
from pipeline.ingest.sources import (
    anthropic_cost,
    anthropic_usage,
    claude_code,
    codex,
    console_cost,
    console_usage,
    experiment_records,
    gemini_cli,
    langfuse,
    litellm,
    openai_costs,
    openai_usage,
    opencode,
    otel_genai,
    pi,
    stream_events,
    tracker_events,
    usage_sessions,
)
from pipeline.ingest.sources.base import streaming
from pipeline.ingest.sources.contract import Loaded, Probe, RejectedRow, Source, SourceError
from pipeline.marts import increment
from pipeline.settings import ConfigurationError, Settings
from pipeline.store import warehouse
from pipeline.store.sqlfiles import literal, sql

SOURCES: tuple[Source, ...] = (
    # First: what a stream has brought may hold lines that look like any other format.
    stream_events,
    claude_code,
    codex,
    opencode,
    pi,
    gemini_cli,
    litellm,
    otel_genai,
    langfuse,
    tracker_events,
    anthropic_usage,
    anthropic_cost,
    openai_usage,
    openai_costs,
    console_usage,
    console_cost,
    usage_sessions,
    experiment_records,
)
FORMATS = tuple(dict.fromkeys(source.FORMAT for source in SOURCES))
# What is read, in words: said once where a file is of no format.
KNOWN_FORMATS = (
    "Console usage or cost CSV, pages of Anthropic's and OpenAI's usage and cost APIs (JSON) and OpenAI's CSV exports "
    "of them, token_usage_sessions (CSV, JSON lines, Parquet), logs of Claude Code, Codex, OpenCode, Pi and Gemini CLI,"
    " LiteLLM spend logs, OpenTelemetry spans, Langfuse observations, events of the tracker, experiment records"
)
# The formats of a provider's account: whose it is, and whether it tells of usage (console) or of what was billed. The
# models read it as raw.account_formats.
ACCOUNT_FORMATS = {
    "anthropic_usage": ("anthropic", "console"), "anthropic_cost": ("anthropic", "billed"),
    "openai_usage": ("openai", "console"), "openai_costs": ("openai", "billed"),
    "console_usage": ("anthropic", "console"), "console_cost": ("anthropic", "billed"),
}  # fmt: skip
# What our own systems wrote down.
LOG_FORMATS = tuple(name for name in FORMATS if name not in ACCOUNT_FORMATS)
# Where the days of a file's usage are found; formats that are not named here fill raw.requests.
_USAGE_DATES = {
    "token_usage_sessions": "ingest/usage_dates/token_usage_sessions",
    **{name: f"ingest/usage_dates/{side}" for name, (_, side) in ACCOUNT_FORMATS.items()},
}
# Inserting in batches keeps a file of nothing but bad rows from taking one statement a row.
REJECT_BATCH = 10_000
# Files that are stored in one transaction where their format allows it: few cost time, many cost memory. One and a half
# of DuckDB's row groups, since it writes two ends again that together make one.
BATCH_FILES = 5000
BATCH_ROWS = 184_320
# Text of rejected rows that waits for its place in the quarantine.
BATCH_REJECTED_CHARACTERS = 1 << 26

GONE = "no longer lies there with the same content: left as it is"
NO_USAGE = "no usage in it"
NO_USABLE_ROW = "none of its rows could be used"
# In the column format of the ledger, of what tools keep beside their logs.
SIDE_FILE = "side_file"

Progress = Callable[[int, int, str], None]  # done, total, what


@dataclass
class IngestSummary:
    """What one run found in landing."""

    files_seen: int = 0
    files_unchanged: int = 0
    files_loaded: int = 0
    files_unrecognised: int = 0
    files_failed: int = 0
    # What tools keep beside their logs.
    files_ignored: int = 0
    # Of the loaded ones.
    files_without_usage: int = 0
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    rows_ignored: int = 0
    rows_repeated: int = 0
    problems: list[str] = field(default_factory=list)
    # What could not be looked at or read, with the reason.
    unread: dict[str, str] = field(default_factory=dict)

    def add(self, loaded: Loaded) -> None:
        """Count a file that was loaded."""
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
        ConfigurationError: there is nothing to read, neither now nor from an earlier run.

    """
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
    found: list[_Found] = []
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
            found.append(_Found(file, before))
            wanted.append(transcripts.Wanted(str(file.path), before, known, is_unchanged=fingerprint == before))
    done = itertools.count(summary.files_unchanged)

    def tell(file: discovery.LandedFile) -> None:
        if progress:
            progress(next(done), len(files), file.shown)

    remaining = iter(found)
    with (
        _Loading(connection, settings, summary, status, tell) as loading,
        contextlib.closing(transcripts.portions(wanted, warehouse.threads(settings))) as portions,
    ):
        for portion in portions:
            loading.take(list(itertools.islice(remaining, len(portion.outcomes))), portion)
        loading.finish()
    _note_unread(connection, summary.unread)
    _drop_rejected_of_forgotten(connection, settings)
    if progress:
        progress(len(files), len(files), "")
    return summary


def _cannot_be_read(settings: Settings, summary: IngestSummary, file: discovery.LandedFile, error: OSError) -> None:
    warehouse.refuse_full_disk(settings, str(error))
    summary.add_unread(file.shown, error.strerror or "cannot be read")


def _note_unread(connection: duckdb.DuckDBPyConnection, unread: Mapping[str, str]) -> None:
    """Rows of the ledger for what could not be read now, in place of those of earlier runs."""
    notes = {_unread_key(shown): (shown, message) for shown, message in unread.items()}
    connection.execute(sql("ingest/drop_read"), [list(notes)])
    for key, (shown, message) in notes.items():
        _note(connection, key, shown, "", 0, "failed", message)


def _unread_key(shown: str) -> str:
    """What stands for the sha256 of a file that cannot be read."""
    return f"refused:{hashlib.sha256(shown.encode()).hexdigest()}"


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
        connection.execute("BEGIN")
        try:
            _take_out(connection, sha256)
            connection.execute("UPDATE ingest.files SET status = 'forgotten' WHERE file_sha256 = ?", [sha256])
            connection.execute(sql("ingest/forget/rejected"))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return [str(path) for _, path, _ in found]


def forget_before(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Take usage before `day` out of the raw tables, and keep out what later files bring of it.

    A file of which no row is left is forgotten, with its rejected rows. Those of other files stay: which day a row that
    cannot be read belongs to is not known.
    """
    connection.execute("BEGIN")
    try:
        _delete(connection, *_older_than(day))
        connection.execute("DELETE FROM raw.retention")
        connection.execute("INSERT INTO raw.retention VALUES (?)", [day])
        connection.execute(sql("ingest/forget/mark_files"), [day])
        connection.execute(sql("ingest/forget/rejected"))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def retry_rejected(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """Load again, from where they lie, the files that have rejected rows, and those that were not loaded at all.

    A file's rows, rejected rows and ledger row are replaced in one transaction. What cannot be replaced stays as it is:
    a file that is gone or holds other content now, and one of which less could be used than before (none of it).

    Returns:
        One line for each file that came out otherwise or could not be tried, and one that counts the others. The next
        build takes what changed into the marts.

    Raises:
        ConfigurationError: a folder in `settings.sources` does not exist.

    """
    discovered = discovery.discover(settings)
    here = {file.shown: file for file in discovered.files}
    still_refused = {shown for shown, _ in discovered.refused}
    still_refused |= {shown for shown, file in here.items() if not os.access(file.path, os.R_OK)}
    told: list[str] = []
    as_before = 0
    for sha256, shown, status, rejected, places in connection.execute(sql("ingest/retry/find")).fetchall():
        if sha256.startswith("refused:"):
            if shown in still_refused:
                as_before += 1
            elif shown in here:
                connection.execute("DELETE FROM ingest.files WHERE file_sha256 = ?", [sha256])
                told.append(f"{shown}: was refused, is a file that a run loads")
            else:
                told.append(f"{shown}: {GONE}")
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
                told.append(f"{shown}: {GONE}")
                continue
            summary = IngestSummary()
            after = _take(connection, settings, _Found(file, file.fingerprint(), sha256), summary, instead_of=status)
        except OSError as error:
            warehouse.refuse_full_disk(settings, str(error))
            told.append(f"{shown}: {error.strerror or 'cannot be read'}")
            continue
        was, now = _came_out(status, rejected), _came_out(after, summary.rows_rejected)
        if not after:
            told += summary.problems
        elif was != now:
            told.append(f"{file.shown}: was {was}, is {now}")
        else:
            as_before += 1
    return [*told, f"{as_before:,} files came out as before"] if as_before or not told else told


def _came_out(status: str, rejected: int) -> str:
    return f"loaded with {rejected:,} rejected rows" if status == "loaded" else status


def _older_than(day: date, also: str = "true") -> tuple[str, str, str, str, str]:
    """Conditions for the rows of each raw table, and of the ledger, before a day."""
    limit = f"DATE {literal(day.isoformat())}"
    columns = ("usage_start", "usage_date", "requested_at", "session_started_at", "first_usage_date")
    usage, costs, requests, sessions, files = (f"{column} < {limit} and {also}" for column in columns)
    return usage, costs, requests, sessions, files


def _take_out(connection: duckdb.DuckDBPyConnection, sha256: str) -> None:
    """Delete a file's raw rows; what the marts hold of it is in scope of the next build."""
    same = f"file_sha256 = {literal(sha256)}"
    _delete(connection, same, same, same, same, same)
    connection.execute("DELETE FROM raw.exports WHERE file_sha256 = ?", [sha256])
    connection.execute("DELETE FROM scope.pending_files WHERE file_sha256 = ?", [sha256])


def _drop_rejected_of_forgotten(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Drop the rejected rows of files that are not loaded, and their text; also what a killed run left of them."""
    connection.execute(sql("ingest/forget/rejected"))
    found = connection.execute("SELECT file_sha256 FROM ingest.files WHERE status = 'loaded' AND rows_rejected > 0")
    kept = {_quarantine_file(settings, sha256) for (sha256,) in found.fetchall()}
    if settings.quarantine.exists():
        for path in settings.quarantine.iterdir():
            if path not in kept:
                path.unlink()


def _delete(
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
    _execute(connection, sql("ingest/forget/scope", **conditions))
    # While the rows are still there: which other calls were matched with them cannot be told afterwards.
    increment.add_alike(connection)
    _execute(connection, sql("ingest/forget/delete", **conditions))


def _nothing_to_read(settings: Settings) -> str:
    found = [f"~/{name}" for name in (".claude/projects", ".codex/sessions") if (Path.home() / name).is_dir()]
    hint = f" (found logs in {' and '.join(found)}: add them to `sources` in token_analytics.toml)" if found else ""
    return f"no files in {settings.landing}: put exports and logs there, at any depth{hint}"


def _has_history(connection: duckdb.DuckDBPyConnection) -> bool:
    return connection.execute("SELECT 1 FROM ingest.files LIMIT 1").fetchone() is not None


def _settled(files: Sequence[discovery.LandedFile], settle_seconds: float) -> list[transcripts.Fingerprint | OSError]:
    """What each file looks like when none is younger than `settle_seconds`; waits for that, but no longer than that."""
    found = [_looks(file) for file in files]
    now = time.time()
    ages = [now - looks[1] / 1e9 for looks in found if not isinstance(looks, OSError)]
    youngest = min(ages, default=settle_seconds)
    if 0 <= youngest < settle_seconds:
        time.sleep(settle_seconds - youngest)
        return [_looks(file) for file in files]
    return found


def _looks(file: discovery.LandedFile) -> transcripts.Fingerprint | OSError:
    try:
        return file.fingerprint()
    except OSError as error:
        return error


@dataclass
class _Found:
    """A file that may be new: what it looked like when it was found, and its sha256, '' until it has been read."""

    file: discovery.LandedFile
    before: transcripts.Fingerprint
    sha256: str = ""


class _Loading:
    """Files on their way into the raw tables: many small ones of a format at once, the others one by one.

    A batch is stored in a thread of its own while the next one is read; nobody else uses the connection meanwhile.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        settings: Settings,
        summary: IngestSummary,
        status: dict[str, str],
        tell: Callable[[discovery.LandedFile], None],
    ) -> None:
        self._connection = connection
        self._tell = tell
        self._settings = settings
        self._summary = summary
        self._status = status
        self._rows: list[pa.Table] = []
        self._rejected_characters = 0
        self._waiting: dict[str, tuple[_Found, Loaded]] = {}
        self._storing: dict[str, tuple[_Found, Loaded]] = {}
        self._copies: list[_Found] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._stored: Future[None] | None = None

    def __enter__(self) -> _Loading:
        return self

    def __exit__(self, *failure: object) -> None:
        """Wait for what is being stored; what only waits to be is dropped, as after any failure."""
        self._thread.shutdown()

    def take(self, files: Sequence[_Found], portion: transcripts.Portion) -> None:
        """Load what was read of some files, now or with a batch."""
        first = following = 0
        known: list[_Found] = []
        for found, outcome in zip(files, portion.outcomes, strict=True):
            self._tell(found.file)
            found.sha256, loaded = outcome.sha256, outcome.loaded
            begin, following = following, following + (loaded.rows_loaded if loaded else 0)
            if outcome.error:
                _cannot_be_read(self._settings, self._summary, found.file, outcome.error)
            elif self._status.get(found.sha256) in ("loaded", "forgotten"):
                known.append(found)
            elif found.sha256 in self._waiting or found.sha256 in self._storing:
                self._copies.append(found)
            elif loaded:
                self._waiting[found.sha256] = found, loaded
                self._rejected_characters += sum(len(row.text) for row in loaded.rejected)
                continue
            else:
                self._settle()
                self._take_alone(found)
            # Without the rows of this file, if it has any.
            self._add_rows(portion.rows.slice(first, begin - first))
            first = following
        self._add_rows(portion.rows.slice(first, following - first))
        self._remember(known)
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
        """Load what is still waiting."""
        self._store()
        self._settle()
        copies, self._copies = self._copies, []
        self._remember(copies)

    def _remember(self, known: Sequence[_Found]) -> None:
        """Note where files lie whose content is loaded already."""
        if known:
            self._settle()
            _remember(self._connection, known)
            self._summary.files_unchanged += len(known)

    def _take_alone(self, found: _Found) -> None:
        try:
            self._status[found.sha256] = _take(self._connection, self._settings, found, self._summary)
        except OSError as error:
            _cannot_be_read(self._settings, self._summary, found.file, error)

    def _store(self) -> None:
        """Begin to store what is waiting."""
        self._settle()
        if self._waiting:
            self._storing = self._waiting
            files = list(self._storing.values())
            self._stored = self._thread.submit(_take_together, self._connection, self._settings, self._rows, files)
        self._waiting, self._rows, self._rejected_characters = {}, [], 0

    def _settle(self) -> None:
        """Wait until what is being stored is."""
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
                    f"({type(error).__name__}); stored one by one, which takes longer"
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
    files: Sequence[tuple[_Found, Loaded]],
) -> None:
    """Store transcripts in one transaction, with their ledger rows."""
    sha256s = [found.sha256 for found, _ in files]
    with streaming(connection, in_order=True):
        connection.execute("BEGIN")
        try:
            days = claude_code.store(connection, pa.concat_tables(rows)) if rows else {}
            _keep_out(connection, sha256s)
            for found, loaded in files:
                _quarantine(settings, found.sha256, loaded.rejected)
            _enter_together(connection, claude_code.FORMAT, files, days)
            connection.execute(sql("ingest/forget/mark_kept_out"), [sha256s])
            _remember(connection, [found for found, _ in files])
            connection.execute("COMMIT")
        except BaseException:
            # A commit that failed leaves nothing to roll back.
            with contextlib.suppress(duckdb.TransactionException):
                connection.execute("ROLLBACK")
            raise


def _take(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    found: _Found,
    summary: IngestSummary,
    instead_of: str = "",
) -> str:
    """Load one file in one transaction with its ledger row; returns its status, '' where nothing was changed.

    `instead_of` is the status of the same file in the ledger, where it is loaded again.
    """
    file, sha256, before = found.file, found.sha256, found.before
    source: Source | None = None
    # A format may begin the transaction anew, so the former rows are deleted when it is done: until then these differ.
    key = f"again:{sha256}" if instead_of else sha256
    connection.execute("BEGIN")
    try:
        source, probe = _recognise(file.path)
        loaded = source.load(connection, probe, key)
        if file.fingerprint() != before:
            connection.execute("ROLLBACK")
            summary.problems.append(f"{file.shown}: is still being written; the next run reads it")
            return ""
        if instead_of:
            _replace(connection, sha256, key)
        _keep_out(connection, [sha256])
        _quarantine(settings, sha256, loaded.rejected)
        _enter(connection, file.shown, sha256, source.FORMAT, before[0], loaded)
        connection.execute(sql("ingest/forget/mark_kept_out"), [[sha256]])
        _remember(connection, [found])
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
        status = "unrecognised" if isinstance(error, UnrecognisedError) else "failed"
        name = source.FORMAT if source else getattr(error, "format", "")
        is_side_file = status == "unrecognised" and discovery.is_side_file(file.shown)
        if is_side_file:
            name, message = SIDE_FILE, "a tool keeps it beside its logs: no usage in it"
        _note(connection, sha256, file.shown, name, before[0], status, message)
        _remember(connection, [found])
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
        _quarantine_file(settings, sha256).unlink(missing_ok=True)
    summary.add(loaded)
    return "loaded"


def _replace(connection: duckdb.DuckDBPyConnection, sha256: str, key: str) -> None:
    """Put the rows that were loaded as `key` in the place of all that the file gave before."""
    _take_out(connection, sha256)
    connection.execute("DELETE FROM ingest.rejected_rows WHERE file_sha256 = ?", [sha256])
    _execute(connection, sql("ingest/retry/adopt", sha256=literal(sha256), key=literal(key)))


class UnrecognisedError(SourceError):
    """A file that no format claims."""


class UnusableError(SourceError):
    """A file of a known format that lacks what it needs."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.format = name


def _recognise(path: Path) -> tuple[Source, Probe]:
    probe = Probe.of(path)
    if not probe.head.strip():
        raise UnrecognisedError("empty file: nothing to read")
    for source in SOURCES:
        verdict = transcripts.verdict(source, probe)
        if verdict:
            raise UnusableError(verdict, source.FORMAT)
        if verdict is not None:
            return source, probe
    if not probe.is_text:
        raise UnrecognisedError("binary content of no known format")
    raise UnrecognisedError(f"{'JSON' if probe.text.lstrip()[:1] in ('{', '[') else 'text'} of no known format")


def _keep_out(connection: duckdb.DuckDBPyConnection, sha256s: Sequence[str]) -> None:
    """Leave out what new files bring from before the day that `forget --before` has set."""
    ((day,),) = connection.execute("SELECT max(before_date) FROM raw.retention").fetchall()
    if day is not None and sha256s:
        same = f"file_sha256 IN ({', '.join(map(literal, sha256s))})"
        _delete(connection, *_older_than(day, also=same))


def _quarantine(settings: Settings, sha256: str, rejected: Sequence[RejectedRow]) -> None:
    """Keep the text of rejected rows in the private quarantine, compressed, before the ledger commits."""
    if not rejected:
        return
    settings.quarantine.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = _quarantine_file(settings, sha256)
    following = target.with_suffix(".next")
    with (
        os.fdopen(os.open(following, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed,
    ):
        for row in rejected:
            entry = {"line": row.line, "byte_offset": row.byte_offset, "reason": row.reason, "text": row.text}
            packed.write(json.dumps(entry, ensure_ascii=True).encode() + b"\n")
    following.replace(target)


def _quarantine_file(settings: Settings, sha256: str) -> Path:
    return settings.quarantine / f"{sha256}.jsonl.gz"


def _enter(
    connection: duckdb.DuckDBPyConnection, shown: str, sha256: str, name: str, size: int, loaded: Loaded
) -> None:
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
            "message": _told(loaded),
        },
    )
    connection.execute("INSERT OR IGNORE INTO scope.pending_files VALUES (?)", [sha256])
    _enter_rejected(connection, [(sha256, shown, loaded)])


def _told(loaded: Loaded) -> str:
    """What the ledger says of a loaded file: that it gave no usage, where that is so, and what its format says."""
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


def _enter_together(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    files: Sequence[tuple[_Found, Loaded]],
    days: Mapping[str, tuple[date, date]],
) -> None:
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
            "message": [_told(loaded) for _, loaded in files],
        }
    )
    with _registered(connection, "entered_files", ledger):
        _execute(connection, sql("ingest/enter_files"))
    _enter_rejected(connection, ((found.sha256, found.file.shown, loaded) for found, loaded in files))


def _execute(connection: duckdb.DuckDBPyConnection, statements: str) -> None:
    """Run statements, each to its end."""
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(statement).fetchall()


@contextlib.contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    """Let SQL read an Arrow table by a name; results of the connection must have been fetched to their end."""
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)


def _note(
    connection: duckdb.DuckDBPyConnection, sha256: str, shown: str, name: str, size: int, status: str, message: str
) -> None:
    """Ledger row of a file from which nothing was loaded; unchanged where the ledger says so already."""
    connection.execute("BEGIN")
    connection.execute(sql("ingest/drop_other_note"), [sha256, status, message])
    connection.execute(sql("ingest/enter_note"), [sha256, shown, name, size, status, message])
    connection.execute("COMMIT")


def _remember(connection: duckdb.DuckDBPyConnection, files: Sequence[_Found]) -> None:
    """Note where these contents lie, so that the next run need not read them."""
    if files:
        path, sha256, size, modified, changed = zip(
            *((found.file.shown, found.sha256, *found.before) for found in files), strict=True
        )
        places = {"path": path, "file_sha256": sha256, "bytes": size, "modified_ns": modified, "changed_ns": changed}
        with _registered(connection, "places", pa.table({name: pa.array(values) for name, values in places.items()})):
            connection.execute("INSERT OR REPLACE INTO ingest.paths BY NAME FROM places").fetchall()
