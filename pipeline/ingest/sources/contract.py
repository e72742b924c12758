"""What a format is: how it recognises a file by its beginning, and what it says of the rows that it has read.

Belongs here: the words that ingest and all formats share. Does not belong here: reading anything with DuckDB (base),
which a process that only parses transcripts need not start.
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
# One JSON document is read in one piece, unpacked.
MAX_DOCUMENT_BYTES = 1 << 28
# One log line may hold several pasted images; a longer one is quarantined. DuckDB would take 16 times this much for its
# buffer (4 GiB at 256 MiB, refused under the default memory limit), so the buffer is set to hold just one such line.
MAX_LINE_BYTES = 1 << 26


class SourceError(Exception):
    """A file that cannot be loaded; the message is one sentence without content of the file, fit for the ledger."""


@contextlib.contextmanager
def refusing_damaged_gzip() -> Iterator[None]:
    """Say so, as a SourceError, where a packed file cannot be unpacked to its end."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise SourceError("damaged gzip file: fetch it again") from None


def json_of(text: str) -> Any:
    """What a text is as JSON; None where it is none, or nested deeper than Python can follow."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Probe:
    """The beginning of a file, decompressed, as far as recognition needs it.

    `origin` is set on a tidied copy: the file that landed, in which rejected rows are located; `left_out` is how many
    of its rows, all to be rejected, the copy does not hold.
    """

    path: Path
    head: bytes
    compression: str
    origin: Probe | None = None
    left_out: int = 0

    @classmethod
    def of(cls, path: Path) -> Probe:
        """Read the first mebibyte of `path`; gzip is known by its magic bytes, not by the file name."""
        with path.open("rb") as handle:
            magic = handle.read(2)
        if magic != GZIP_MAGIC:
            with path.open("rb") as handle:
                return cls(path, _head(handle), "none")
        with refusing_damaged_gzip(), gzip.open(path, "rb") as unzipped:
            return cls(path, _head(unzipped), "gzip")  # type: ignore[arg-type]

    def size(self, limit: int, what: str) -> int:
        """Bytes of the whole file, unpacked; a packed one is unpacked no further than to `limit`, a piece at a time.

        Raises:
            SourceError: there are more; `what` says of what.

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
        """The decompressed bytes of the whole file."""
        return gzip.open(self.path, "rb") if self.compression == "gzip" else self.path.open("rb")  # type: ignore[return-value]

    @property
    def text(self) -> str:
        """The head as text, without a byte order mark."""
        return self.head.decode("utf-8-sig", errors="replace")

    @property
    def is_text(self) -> bool:
        """Whether the head may be text: it holds no NUL byte, or begins as JSON: a crash damages lines of a log."""
        if b"\0" not in self.head:
            return True
        return self.head.removeprefix(codecs.BOM_UTF8).lstrip(b"\0 \t\r\n").startswith((b"{", b"["))


def _head(handle: IO[bytes]) -> bytes:
    """The beginning of a file; where that is within one line of JSON, also that of what follows the line."""
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
    """A row that was not loaded: where it stands, and why. `text` goes to the private quarantine only."""

    line: int
    byte_offset: int
    reason: str
    column_name: str = ""
    value: str = ""
    text: str = ""


@dataclass(frozen=True)
class Loaded:
    """What one file gave: rows_read = rows_loaded + rows_ignored + rows_repeated + len(rejected)."""

    grain: str
    rows_read: int
    rows_loaded: int
    rows_ignored: int = 0
    rows_repeated: int = 0
    rejected: Sequence[RejectedRow] = field(default=(), repr=False)
    message: str = ""


class Source(Protocol):
    """A format. `recognise` returns None (not mine), '' (mine), or a sentence (mine, and unusable for this reason)."""

    FORMAT: str

    def recognise(self, probe: Probe) -> str | None:
        """Whether the file is of this format, judged by its content."""

    def load(self, connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
        """Insert the file's rows into its raw table, inside the caller's transaction."""
