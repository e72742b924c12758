"""Reading text files with DuckDB, and locating their rejected rows.

Belongs here: what all formats that DuckDB reads have in common. Does not belong here: any single format. DuckDB finds
the bad rows in parallel; Python then locates them in the file by their content, to report line and byte offset. If the
two disagree on what a row is (mixed line ends, stray quotes, control characters), DuckDB reads a tidied copy instead.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import hashlib
import io
import itertools
import pickle
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, overload

import duckdb

from pipeline.ingest.sources.contract import (
    MAX_LINE_BYTES,
    Loaded,
    Probe,
    RejectedRow,
    SourceError,
    refusing_damaged_gzip,
)
from pipeline.store.sqlfiles import identifier, literal, sql

PIECE_BYTES = 1 << 20
_PATTERN_CHARACTERS = re.compile(r"[*?\[]")
_LINE_LIMITS = f"max_line_size = {MAX_LINE_BYTES}, buffer_size = {MAX_LINE_BYTES}"
# Rows of exports are short and have few columns. Small buffers limit the memory for a large file; a file of 100,000
# columns would take minutes.
MAX_ROW_BYTES = 1 << 20
MAX_COLUMNS = 1000
_ROW_LIMITS = f"max_line_size = {MAX_ROW_BYTES}, buffer_size = {1 << 23}"
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
# How Python keeps bytes that are no text.
_UNDECODABLE = re.compile("[\udc80-\udcff]")
_QUOTED = re.compile(rb'"[^"]*"')
_KEPT_CHARACTERS = 10_000  # kept of a row that is too long
_NAMED_COLUMNS = 50
# More rejected rows are buffered on disk before they go to the quarantine.
ROWS_IN_MEMORY = 10_000
# Memory per loading thread: a row group and the reader's buffers. Shared structures take as much as two threads.
STREAMING_BYTES = 100_000_000


class MisreadError(Exception):
    """DuckDB read other rows than the file has; a tidied copy may be readable."""


@dataclass(frozen=True)
class CsvShape:
    """The columns of a CSV format: required ones, optional ones, and groups of which one must be complete."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    one_of: tuple[tuple[str, ...], ...] = ()

    @property
    def known(self) -> frozenset[str]:
        """Every column name of the format."""
        return frozenset(self.required + self.optional + tuple(name for group in self.one_of for name in group))

    def problem(self, header: tuple[str, ...]) -> str:
        """Why a file with this header cannot be loaded, or ''."""
        if len(header) > MAX_COLUMNS:
            return f"{len(header):,} columns or more: no export has more than {MAX_COLUMNS:,}"
        missing = [name for name in self.required if name not in header]
        if self.one_of and not any(set(group) <= set(header) for group in self.one_of):
            missing.append(" or ".join("+".join(group) for group in self.one_of))
        doubled = sorted({name for name in header if header.count(name) > 1 and name in self.known})
        if missing:
            expected = ", ".join(self.required + tuple("+".join(group) for group in self.one_of[:1]))
            return f"missing required column {', '.join(missing)}; required: {expected}; found: {_named(header)}"
        return f"column {', '.join(doubled)} appears twice in the header" if doubled else ""


def _named(header: Iterable[str]) -> str:
    """Header names for a message; cells that do not look like names could be content and are only counted."""
    named = [name for name in header if name.isascii() and name.replace("_", "").isalnum() and len(name) <= 64]
    names = named[:_NAMED_COLUMNS]
    others = len(tuple(header)) - len(names)
    return ", ".join(names) + (f" and {others} other" if others else "")


def csv_header(probe: Probe) -> tuple[str, ...]:
    """Lower-case names in the first line of a CSV file; () if it is not a CSV header."""
    first = probe.head.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n").split(b"\n", 1)[0].decode(errors="replace")
    if "\0" in first:
        return ()
    try:
        names = next(csv.reader([first.rstrip("\r")]), [])
    except csv.Error:
        return ()
    return tuple(name.strip().lower() for name in names)


def readable_lines(relation: str, document: str = "line") -> str:
    """CTEs over column `line` of `relation`; the last one is `readable` (line, document, is_json).

    `document` is an SQL expression for the JSON of a line; half surrogate pairs in it are replaced.
    """
    return sql("ingest/readable_lines", relation=relation, document=document).rstrip()


def file_literal(path: Path) -> str:
    """`path` as an SQL literal for DuckDB's readers, with *, ? and [ escaped."""
    return literal(_PATTERN_CHARACTERS.sub(r"[\g<0>]", str(path)))


def csv_relation(probe: Probe, header: tuple[str, ...]) -> str:
    """A DuckDB table function over a CSV file, with VARCHAR columns; structural errors go to reject_errors."""
    columns = ", ".join(f"{literal(_unique(header, i))}: 'VARCHAR'" for i in range(len(header)))
    return (
        f"read_csv({file_literal(probe.path)}, columns = {{{columns}}}, auto_detect = false, header = true, "
        f"""delim = ',', quote = '"', escape = '"', compression = '{probe.compression}', store_rejects = true, """
        f"hive_partitioning = false, {_ROW_LIMITS})"
    )


def _unique(header: tuple[str, ...], i: int) -> str:
    """The i-th column name, made unique and never empty."""
    name = header[i] or f"column_{i}"
    return name if header[:i].count(header[i]) == 0 else f"{name}_{i}"


def csv_values(header: tuple[str, ...]) -> str:
    """SQL list of a row's original values, to locate the row in the file."""
    return "[" + ", ".join(f"coalesce({identifier(_unique(header, i))}, '')" for i in range(len(header))) + "]"


def line_relation(probe: Probe, in_order: bool = False) -> str:
    """A DuckDB table function over the lines of a text file: one VARCHAR column `line`, null if blank.

    With `in_order`, one thread reads them in the order of the file.
    """
    parallel = "parallel = false, " if in_order else ""
    return (
        f"read_csv({file_literal(probe.path)}, columns = {{'line': 'VARCHAR'}}, auto_detect = false, header = false, "
        f"delim = '\x01', quote = '', escape = '', strict_mode = false, compression = '{probe.compression}', {parallel}"
        f"store_rejects = true, hive_partitioning = false, {_LINE_LIMITS})"
    )


def forget_reader_errors(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop the temporary tables with the errors of DuckDB's reader."""
    connection.execute("DROP TABLE IF EXISTS reject_errors")
    connection.execute("DROP TABLE IF EXISTS reject_scans")


def count_reader_errors(connection: duckdb.DuckDBPyConnection) -> int:
    """Rows that DuckDB's reader could not parse since `forget_reader_errors`; one row may have several errors."""
    found = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchone()
    if not found or not found[0]:
        return 0
    counted = connection.execute("SELECT count(DISTINCT line) FROM reject_errors").fetchone()
    return int(counted[0]) if counted else 0


Problem = tuple[str, str, str]  # reason, column name, value


class Problems:
    """The problems of bad rows by a digest of their cells; a million rows of cells would not fit in memory."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, Problem] = {}
        self._same: dict[Problem, Problem] = {}
        self._lines: set[int] = set()

    def add(self, cells: Sequence[str], problem: Problem) -> None:
        """Store the problem of a row with these cells."""
        self._by_digest[self._digest(cells)] = self._same.setdefault(problem, problem)
        self._lines.add(hash(",".join(cells).replace('"', "").encode()))

    def of(self, cells: Sequence[str]) -> Problem | None:
        """The problem of a row with these cells, or None."""
        return self._by_digest.get(self._digest(cells))

    def may_be(self, line: bytes) -> bool:
        """Whether a line without quotes may be a bad row; False is certain."""
        return hash(line.rstrip(b"\r\n")) in self._lines

    @staticmethod
    def _digest(cells: Sequence[str]) -> bytes:
        return hashlib.blake2b("\0".join(cells).encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _Spool(Sequence[RejectedRow]):
    """Rows in a temporary file, which is deleted with the last reference to this object."""

    def __init__(self, rows: Iterable[RejectedRow]) -> None:
        self._file = tempfile.TemporaryFile(prefix="token-analytics-")  # noqa: SIM115 - open as long as this object
        self._size = 0
        for row in rows:
            # As a tuple: a dataclass takes three times as long.
            pickle.dump((row.line, row.byte_offset, row.reason, row.column_name, row.value, row.text), self._file)
            self._size += 1

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[RejectedRow]:
        self._file.seek(0)
        for _ in range(self._size):
            yield RejectedRow(*pickle.load(self._file))  # noqa: S301 - written above

    @overload
    def __getitem__(self, index: int) -> RejectedRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RejectedRow]: ...
    def __getitem__(self, index: int | slice) -> RejectedRow | Sequence[RejectedRow]:
        return tuple(self)[index]


def _kept(rows: Iterator[RejectedRow]) -> Sequence[RejectedRow]:
    """The rows, in memory if there are few."""
    first = tuple(itertools.islice(rows, ROWS_IN_MEMORY))
    return first if len(first) < ROWS_IN_MEMORY else _Spool(itertools.chain(first, rows))


def _trailing_cells(probe: Probe, width: int) -> int:
    """The number of empty cells beyond the last column, from the first two rows of a file.

    In a single row they may come from a comma in a number, which shifts the following cells.
    """
    try:
        records = list(itertools.islice(filter(None, csv.reader(io.StringIO(probe.text, newline=""))), 3))[1:]
    except csv.Error:
        return 0
    beyond = {0 if any(record[width:]) else max(len(record) - width, 0) for record in records}
    return beyond.pop() if len(records) == 2 and len(beyond) == 1 else 0


def _count_rows(probe: Probe, width: int) -> int | None:
    """The number of rows of a CSV file, without the header; None if DuckDB may silently skip or shift a row.

    DuckDB skips rows that are longer than its buffer, and drops empty cells beyond the last column.
    """
    rows = 0
    with probe.open() as raw:
        while piece := raw.read(PIECE_BYTES):
            rest = raw.readline(MAX_ROW_BYTES + 1)
            if len(rest) > MAX_ROW_BYTES:
                return None
            piece += rest
            plain = _QUOTED.sub(b"", piece) if b'"' in piece else piece
            if b'"' in plain or plain.count(b"\r") != plain.count(b"\r\n"):
                return None
            if plain.startswith((b"\n", b"\r")) or b"\n\n" in plain or b"\n\r\n" in plain:
                lines = [line for line in plain.split(b"\n") if line.strip(b"\r")]
                if any(line.count(b",") >= width for line in lines):
                    return None
                rows += len(lines)
            else:
                n_lines = plain.count(b"\n") + (not plain.endswith(b"\n"))
                if plain.count(b",") > n_lines * (width - 1):
                    return None
                rows += n_lines
    return rows - 1


def locate_csv_rows(probe: Probe, header: tuple[str, ...], problems: Problems) -> Iterator[RejectedRow]:
    """Locate the rows that DuckDB rejected: those in `problems`, and those that are not valid CSV rows.

    Most rows are one line without quotes; only those that look like a problem are parsed. After the first line that is
    not a complete record, every row is parsed.
    """
    origin = probe.origin or probe
    trailing = _trailing_cells(origin, len(header))
    number, offset, is_header = 1, 0, True
    with origin.open() as raw:
        while piece := raw.read(PIECE_BYTES):
            rest = raw.readline(MAX_ROW_BYTES + 1)
            piece += rest
            lines = piece.splitlines(keepends=True)
            suspects = _suspects(piece, lines, len(header) - 1, problems)
            if suspects is None or trailing or len(rest) > MAX_ROW_BYTES or piece.count(b"\r") != piece.count(b"\r\n"):
                break
            if is_header:
                suspects = list(range(len(lines)))
            places = [0, *itertools.accumulate(map(len, lines))] if suspects else []
            for index in suspects:
                counted = _LineCounter(io.BytesIO(lines[index]), number + index, offset + places[index])
                yield from _rejected(_csv_records(counted, len(header), is_header, trailing), problems)
                is_header = is_header and not lines[index].removeprefix(codecs.BOM_UTF8).strip(b"\r\n")
            number += len(lines)
            offset += len(piece)
    with origin.open() as raw:
        raw.seek(offset)
        counted = _LineCounter(raw, number, offset)
        yield from _rejected(_csv_records(counted, len(header), is_header, trailing), problems)


def _suspects(piece: bytes, lines: Sequence[bytes], commas: int, problems: Problems) -> list[int] | None:
    """The lines of a piece that must be parsed to find rejected ones; None if a line is not a complete record."""
    is_plain = b"\0" not in piece and _is_utf8(piece)
    suspects = [
        index
        for index, line in enumerate(lines)
        if problems.may_be(line) or line.count(b",") != commas or b'"' in line or len(line) > MAX_ROW_BYTES
    ]
    if b'"' in piece:
        quoted = {index: _without_quotes(lines[index]) for index in suspects if b'"' in lines[index]}
        if None in quoted.values():
            return None
        suspects = [
            index
            for index in suspects
            if index not in quoted
            or quoted[index] != commas
            or len(lines[index]) > MAX_ROW_BYTES
            or problems.may_be(_dequoted(lines[index]))
        ]
    return suspects if is_plain else sorted({*suspects, *(i for i, line in enumerate(lines) if not _is_plain(line))})


def _without_quotes(line: bytes) -> int | None:
    """The number of commas outside of quotes; None if the line may not be a complete record."""
    parts = line.rstrip(b"\r\n").split(b'"')
    if len(parts) == 3:
        # one quoted cell: the most frequent case, and much faster
        before, _, after = parts
        is_surely = (not before or before[-1:] == b",") and (not after or after[:1] == b",")
        return before.count(b",") + after.count(b",") if is_surely else None
    outside = parts[::2]
    is_surely = (
        len(parts) % 2 == 1
        and all(not part or part.endswith(b",") for part in outside[:-1])
        and all(not part or part.startswith(b",") for part in outside[1:])
    )
    return sum(part.count(b",") for part in outside) if is_surely else None


def _dequoted(line: bytes) -> bytes:
    return line.replace(b'"', b"")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_plain(line: bytes) -> bool:
    return b"\0" not in line and _is_utf8(line)


def _rejected(records: Iterable[tuple[_LineCounter, list[str], str]], problems: Problems) -> Iterator[RejectedRow]:
    for counted, record, reason in records:
        if reason:
            yield counted.rejected(reason)
        elif problem := problems.of(record):
            yield counted.rejected(*problem)


def _csv_records(
    counted: _LineCounter, width: int, is_header: bool, trailing: int = 0
) -> Iterator[tuple[_LineCounter, list[str], str]]:
    """Each record of a CSV file after the header, and why it is not a valid row ('' if it is).

    `trailing` empty cells beyond the last column are dropped.
    """
    records = csv.reader(counted)
    while True:
        counted.mark()
        try:
            record = next(records, None)
        except csv.Error:
            yield counted, [], "not a CSV row"
            continue
        if record is None:
            return
        if not record and not counted.is_too_long:
            continue
        if is_header:
            is_header = False
            continue
        if len(record) == width + trailing and not any(record[width:]):
            record = record[:width]
        if counted.is_too_long:
            yield counted, record, f"row longer than {MAX_ROW_BYTES >> 20} MiB"
        elif counted.undecodable:
            yield counted, record, "not valid UTF-8"
        elif any("\0" in cell for cell in record):
            yield counted, record, "holds a NUL byte"
        elif len(record) != width:
            yield counted, record, f"expected {width} columns, found {len(record)}"
        else:
            yield counted, record, ""


def tidy_csv(probe: Probe, header: tuple[str, ...], path: Path) -> Probe:
    """Write the valid rows of a CSV file to `path`, with every cell quoted and one kind of line end."""
    rows = left_out = 0
    with path.open("w", encoding="utf-8", newline="") as file, probe.open() as raw:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(header)
        trailing = _trailing_cells(probe, len(header))
        for _, record, reason in _csv_records(_LineCounter(raw), len(header), is_header=True, trailing=trailing):
            rows += 1
            if reason:
                left_out += 1
            else:
                writer.writerow(record)
    return Probe(path, probe.head, "none", origin=probe, left_out=left_out, rows=rows)


def tidy_lines(probe: Probe, path: Path) -> Probe:
    """Write the lines of a text file to `path`; lines that DuckDB would split become empty lines."""
    left_out = 0
    with path.open("wb") as file:
        for _, _, content in _lines(probe):
            left_out += _is_untidy(content)
            file.write((b"" if _is_untidy(content) else content) + b"\n")
    return Probe(path, probe.head, "none", origin=probe, left_out=left_out)


def tidy_document(probe: Probe, path: Path) -> Probe:
    """Write a JSON document to `path`, without sequences that DuckDB's parser rejects although others write them."""
    with probe.open() as raw:
        # JavaScript writes half surrogate pairs if text was cut within an emoji
        path.write_text(_HALF_PAIR.sub(r"\\ufffd", raw.read().decode("utf-8-sig", "replace")), encoding="utf-8")
    return Probe(path, probe.head, "none")


def _is_untidy(content: bytes) -> bool:
    return b"\r" in content or b"\x01" in content


def load_tidily(
    connection: duckdb.DuckDBPyConnection,
    probe: Probe,
    load: Callable[[Probe], Loaded],
    tidy: Callable[[Probe, Path], Probe],
) -> Loaded:
    """`load` the file; if DuckDB reads other rows than the file has, load a copy made by `tidy`.

    Args:
        connection: in a transaction of the caller that has done nothing yet.
        probe: the file.
        load: raises MisreadError if it cannot account for every row; its inserts are rolled back.
        tidy: `tidy_lines`, or `tidy_csv` with its header bound.

    Raises:
        SourceError: the copy cannot be read either.

    """
    try:
        return load(probe)
    except MisreadError:
        # the reader's error aborted the transaction
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")
    with scratch() as folder:
        try:
            with refusing_damaged_gzip():
                return load(tidy(probe, folder / "tidied"))
        except MisreadError as error:
            raise SourceError(str(error)) from None


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder for copies of a file.

    Raises:
        SourceError: the disk is full; other files can still be loaded.

    """
    try:
        with tempfile.TemporaryDirectory(prefix="token-analytics-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = tempfile.gettempdir()
        raise SourceError(f"no room in {place} for a copy of it: make room there, or set TMPDIR to another") from None


class _LineCounter:
    """Lines of a binary file as text, with the line and byte offset of the current CSV record."""

    def __init__(self, raw: IO[bytes], line: int = 1, offset: int = 0) -> None:
        """Start at `line` and `offset`, the current position of `raw`."""
        self._raw = raw
        self._line = line - 1
        self._offset = offset
        self.mark()

    def mark(self) -> None:
        self._start: tuple[int, int] | None = None
        self._text = ""
        self._bytes = 0
        self.is_too_long = False
        self.undecodable = False

    def __iter__(self) -> _LineCounter:
        return self

    def __next__(self) -> str:
        line = self._raw.readline(MAX_ROW_BYTES + 2)
        if not line:
            raise StopIteration
        size = len(line)
        while not line.endswith(b"\n") and size > MAX_ROW_BYTES and (more := self._raw.readline(PIECE_BYTES)):
            size += len(more)
            if more.endswith(b"\n"):
                break
        self._bytes += size - len(line) + len(line.rstrip(b"\r\n"))
        self.is_too_long = self._bytes > MAX_ROW_BYTES
        self._line += 1
        if self._start is None:
            self._start = (self._line, self._offset)
        text = line.decode("utf-8-sig" if self._line == 1 else "utf-8", errors="surrogateescape")
        self.undecodable |= not text.isascii() and _UNDECODABLE.search(text) is not None
        self._offset += size
        if self.is_too_long:
            # only the beginning of such a row is kept, for the quarantine
            self._text = (self._text + text)[:_KEPT_CHARACTERS]
            return "\n" if size > len(line) else text
        self._text += text
        return text

    def rejected(self, reason: str, column_name: str = "", value: str = "") -> RejectedRow:
        line, offset = self._start or (self._line, self._offset)
        text = self._text.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return RejectedRow(line, offset, reason, column_name, value[:200], text)


def _lines(probe: Probe) -> Iterator[tuple[int, int, bytes]]:
    """Number, byte offset and content of each line of a text file, without line end and byte order mark."""
    offset = 0
    with probe.open() as raw:
        lines = io.BufferedReader(raw, 1 << 20) if isinstance(raw, io.RawIOBase) else raw
        for number in itertools.count(1):
            # reads just enough of a line to see that it is too long
            line = lines.readline(MAX_LINE_BYTES + 2)
            if not line:
                return
            end, size = line, len(line)
            while not end.endswith(b"\n") and (end := lines.readline(PIECE_BYTES)):
                size += len(end)
            content = line.rstrip(b"\r\n")
            yield number, offset, content.removeprefix(codecs.BOM_UTF8) if number == 1 else content
            offset += size


def locate_lines(probe: Probe, problems: Mapping[str, str]) -> Iterator[RejectedRow]:
    """Locate the lines with an md5 in `problems` (md5 -> reason), and those that could not be read as lines."""
    for number, offset, content in _lines(probe.origin or probe):
        reason = problems.get(hashlib.md5(content, usedforsecurity=False).hexdigest())
        if reason is None and probe.origin and _is_untidy(content):
            reason = "control character in the line"
        if reason is None and len(content) > MAX_LINE_BYTES:
            reason = f"line longer than {MAX_LINE_BYTES >> 20} MiB"
        if reason is None and not content.isascii():
            try:
                content.decode("utf-8")
            except UnicodeDecodeError:
                reason = "not valid UTF-8"
        if reason is not None:
            yield RejectedRow(number, offset, reason, text=content.decode("utf-8", "backslashreplace"))


def load_lines(connection: duckdb.DuckDBPyConnection, probe: Probe, select: Callable[..., str], insert: str) -> Loaded:
    """Insert the calls of a file of lines into raw.requests.

    Args:
        connection: in a transaction of the caller that has done nothing yet.
        probe: the file.
        select: from `readable_lines`, a query with one row per line: `kind` ('ignored' without usage), `line_md5`, and
            `reason` if the line is rejected. Its rows become the temporary table record_lines.
        insert: a query that converts record_lines to rows of raw.requests.

    Raises:
        SourceError: not every line of the file could be accounted for.

    """
    return load_tidily(connection, probe, lambda file: _load_lines(connection, file, select, insert), tidy_lines)


def _load_lines(connection: duckdb.DuckDBPyConnection, probe: Probe, select: Callable[..., str], insert: str) -> Loaded:
    forget_reader_errors(connection)
    lines = select(readable_lines=readable_lines(line_relation(probe)))
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE record_lines AS {lines}")
    except (duckdb.InvalidInputException, duckdb.IOException):
        raise MisreadError("not readable as lines of text: copy the file again") from None
    unread = count_reader_errors(connection) + probe.left_out
    query = "SELECT DISTINCT line_md5, reason FROM record_lines WHERE reason IS NOT NULL"
    reasons = dict(connection.execute(query).fetchall())
    rejected = tuple(locate_lines(probe, reasons)) if reasons or unread else ()
    loaded = store_records(connection, "record_lines", insert, rejected, unread)
    connection.execute("DROP TABLE record_lines")
    return loaded


def store_records(
    connection: duckdb.DuckDBPyConnection, records: str, insert: str, rejected: tuple[RejectedRow, ...], unread: int
) -> Loaded:
    """Insert the rows of query `insert` into raw.requests; `rejected` has the bad rows of table `records`.

    `unread` is the number of further bad rows, which DuckDB's reader could not parse.

    Raises:
        MisreadError: not every bad row could be located.

    """
    ((read, ignored, bad, usable),) = connection.execute(sql("ingest/record_counts", records=records)).fetchall()
    if len(rejected) != bad + unread:
        raise MisreadError(
            f"{bad + unread} records are bad, but {len(rejected)} could be found again: copy the file again"
        )
    loaded = insert_rows(connection, "raw.requests", insert)
    return Loaded("request", read + unread, loaded, ignored, usable - loaded, rejected)


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, query: str) -> int:
    """Insert the rows of `query` into `table`, with secrets removed from every text of a file; returns their number.

    All formats insert through this function, so that no text column is forgotten.
    """
    columns = connection.execute(sql("ingest/text_columns"), [table]).fetchall()
    texts = "[" + ", ".join(literal(str(column)) for (column,) in columns) + "]"
    kept, cleaned = (f"columns(lambda c: {no}list_contains({texts}, c))" for no in ("not ", ""))
    ((inserted,),) = connection.execute(
        f"INSERT INTO {table} BY NAME SELECT {kept}, without_secret({cleaned}) FROM ({query})"
    ).fetchall()
    return int(inserted)


def load_csv(
    connection: duckdb.DuckDBPyConnection,
    probe: Probe,
    header: tuple[str, ...],
    table: str,
    select: Callable[..., str],
    grain: str,
    ignored: str = "false",
) -> Loaded:
    """Run `select` over a CSV file and insert its good rows into `table`.

    Args:
        connection: in a transaction of the caller that has done nothing yet.
        probe: the file.
        header: its column names.
        table: schema.table, whose columns `select` returns by name.
        select: from `relation`, a query with those columns, `problem` (a struct of reason, column_name and value) and
            `cells` (the row's original values); both are null in a good row.
        grain: the grain of a row, for the ledger.
        ignored: a condition on the cells of rows without anything to load.

    Raises:
        SourceError: the file cannot be read, or not every row could be accounted for.

    """
    csv.field_size_limit(MAX_LINE_BYTES)
    with streaming(connection):
        return load_tidily(
            connection,
            probe,
            lambda file: _load_csv(connection, file, header, table, select, grain, ignored),
            lambda file, path: tidy_csv(file, header, path),
        )


@contextlib.contextmanager
def streaming(connection: duckdb.DuckDBPyConnection, in_order: bool = False) -> Iterator[None]:
    """Lower memory limit while rows are streamed, because DuckDB caches what it reads and writes up to its limit.

    With `in_order`, one thread fills one row group after the other. Several threads would each leave a partial group;
    merging these when the warehouse is closed takes as much memory as loading. The connection must then not be in a
    transaction.
    """
    query = "SELECT getvariable('memory_bytes'), current_setting('threads')"
    ((limit, threads),) = connection.execute(query).fetchall()
    enough = STREAMING_BYTES * (2 if in_order else threads + 2)
    if limit:
        # if DuckDB cannot free enough memory now, the limit stays
        with contextlib.suppress(duckdb.OutOfMemoryException):
            connection.execute(f"SET memory_limit = '{min(limit, enough)}B'")
    if in_order:
        connection.execute("SET threads = 1")
    try:
        yield
    finally:
        if in_order:
            connection.execute(f"SET threads = {threads}")
        if limit:
            connection.execute(f"SET memory_limit = '{limit}B'")


def _load_csv(
    connection: duckdb.DuckDBPyConnection,
    probe: Probe,
    header: tuple[str, ...],
    table: str,
    select: Callable[..., str],
    grain: str,
    ignored: str,
) -> Loaded:
    if probe.origin is None and probe.text.startswith(("\r", "\n")):
        raise MisreadError("empty lines above the header")
    if probe.origin is None and not probe.is_text:
        raise MisreadError("NUL bytes: export it again")
    width = len(header)
    n_rows = probe.rows if probe.origin else _count_rows(probe, width)
    if n_rows is None or (probe.origin is None and _trailing_cells(probe, width)):
        raise MisreadError("rows that are too long, or cells beyond the last column: export it again")
    forget_reader_errors(connection)
    relation = csv_relation(probe, header)
    rows = select(relation=relation if ignored == "false" else f"(SELECT * FROM {relation} WHERE NOT ({ignored}))")
    try:
        # streamed without a table in between: ten million rows with all of their cells would not fit in memory
        loaded = insert_rows(
            connection, table, f"SELECT * EXCLUDE (problem, cells) FROM ({rows}) WHERE problem IS NULL"
        )
        empty = 0
        if ignored != "false":
            ((empty,),) = connection.execute(f"SELECT count(*) FILTER ({ignored}) FROM {relation}").fetchall()
        expected = n_rows - loaded - empty
        problems = Problems()
        if expected:
            bad = connection.execute(f"SELECT cells, problem FROM ({rows}) WHERE problem IS NOT NULL")
            while some := bad.fetchmany(ROWS_IN_MEMORY):
                for cells, problem in some:
                    problems.add(cells, (problem["reason"], problem["column_name"], problem["value"]))
    except (duckdb.InvalidInputException, duckdb.IOException):
        # the exception quotes the line, which may hold content
        raise MisreadError("not readable as CSV: export it again") from None
    rejected = _kept(locate_csv_rows(probe, header, problems)) if expected else ()
    if len(rejected) != expected or count_reader_errors(connection) > expected:
        raise MisreadError(
            f"{expected} rows are bad, but {len(rejected)} could be found again: "
            "its quoting is damaged; export it again"
        )
    read = loaded + len(rejected) + empty
    return Loaded(grain, rows_read=read, rows_loaded=loaded, rows_ignored=empty, rejected=rejected)


def cells(header: tuple[str, ...], known: Iterable[str]) -> str:
    """Select list over a file with `header`: every known column, trimmed and not null; '' if it is missing."""
    return ",\n    ".join(
        f"coalesce(trim({identifier(name)}), '') as {identifier(name)}"
        if name in header
        else f"'' as {identifier(name)}"
        for name in sorted(known)
    )
