"""The interface of a format: recognising a file by its beginning, and reporting the rows that it read.

Belongs here: types shared by ingest and all formats. Does not belong here: reading with DuckDB (base), which processes
that only parse transcripts do not import.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import duckdb

HEAD_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
# A JSON document is read in one piece, uncompressed.
MAX_DOCUMENT_BYTES = 1 << 28
# A log line may contain several pasted images; longer lines are quarantined. By default DuckDB would allocate 16 times
# this size (4 GiB at 256 MiB, above the default memory limit), so the buffer is set to one such line.
MAX_LINE_BYTES = 1 << 26


class SourceError(Exception):
    """A file that cannot be loaded; the message is one sentence for the ledger, without content of the file."""


@contextlib.contextmanager
def refusing_damaged_gzip() -> Iterator[None]:
    """Raise a SourceError if a compressed file cannot be decompressed completely."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise SourceError("damaged gzip file: fetch it again") from None


def json_of(text: str) -> Any:
    """The value of a JSON text; None if it is invalid, or nested too deeply for Python."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Probe:
    """The beginning of a file, decompressed, as far as recognition needs it.

    `origin` is set on a tidied copy: the landed file, in which rejected rows are located. `left_out` is the number of
    its rows that are missing in the copy and have to be rejected, `rows` the number of all its rows (CSV only).
    """

    path: Path
    head: bytes
    compression: str
    origin: Probe | None = None
    left_out: int = 0
    rows: int = 0

    @classmethod
    def of(cls, path: Path) -> Probe:
        """Read the first mebibyte of `path`; gzip is recognised by its magic bytes, not by the file name."""
        with path.open("rb") as handle:
            magic = handle.read(2)
        if magic != GZIP_MAGIC:
            with path.open("rb") as handle:
                return cls(path, _head(handle), "none")
        with refusing_damaged_gzip(), gzip.open(path, "rb") as unzipped:
            return cls(path, _head(unzipped), "gzip")  # type: ignore[arg-type]

    def size(self, limit: int, what: str) -> int:
        """Uncompressed size of the file in bytes; decompression stops at `limit`.

        Raises:
            SourceError: the file is larger; `what` names it in the message.

        """
        size = 0
        if self.compression == "none":
            size = self.path.stat().st_size
        else:
            with refusing_damaged_gzip(), self.open() as unpacked:
                while size <= limit and (piece := unpacked.read(HEAD_BYTES)):
                    size += len(piece)
        if size > limit:
            raise SourceError(f"{what} of more than {limit >> 20} MiB: split it")
        return size

    def open(self) -> IO[bytes]:
        """The uncompressed bytes of the file."""
        return gzip.open(self.path, "rb") if self.compression == "gzip" else self.path.open("rb")  # type: ignore[return-value]

    @property
    def text(self) -> str:
        """The head as text, without a byte order mark."""
        return self.head.decode("utf-8-sig", errors="replace")

    @property
    def is_text(self) -> bool:
        """Whether the head may be text: without NUL bytes, or starting as JSON (crashes leave NUL bytes in logs)."""
        if b"\0" not in self.head:
            return True
        return self.head.removeprefix(codecs.BOM_UTF8).lstrip(b"\0 \t\r\n").startswith((b"{", b"["))


def _head(handle: IO[bytes]) -> bytes:
    """The beginning of a file; if it ends within the first line of JSON, also the beginning of the next line."""
    head = handle.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES or b"\n" in head or not head.lstrip().startswith(b"{"):
        return head
    for _ in range(MAX_LINE_BYTES // HEAD_BYTES):
        rest = handle.readline(HEAD_BYTES)
        if not rest:
            break
        if rest.endswith(b"\n"):
            return head + b"\n" + handle.read(HEAD_BYTES)
    return head


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not loaded: its position and the reason. `text` goes to the private quarantine only."""

    line: int
    byte_offset: int
    reason: str
    column_name: str = ""
    value: str = ""
    text: str = ""


@dataclass(frozen=True)
class Loaded:
    """The rows of one file: rows_read = rows_loaded + rows_ignored + rows_repeated + len(rejected)."""

    grain: str
    rows_read: int
    rows_loaded: int
    rows_ignored: int = 0
    rows_repeated: int = 0
    rejected: Sequence[RejectedRow] = field(default=(), repr=False)
    message: str = ""


class Source(Protocol):
    """A format. `recognise` returns None (another format), '' (this format), or why a file of it is unusable."""

    FORMAT: str

    def recognise(self, probe: Probe) -> str | None:
        """Whether the file has this format, by its content."""

    def load(self, connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
        """Insert the file's rows into its raw table, inside the caller's transaction."""
