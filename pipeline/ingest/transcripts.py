"""Reads, hashes and parses transcript files in bulk; for many files, on all cores.

Belongs here: work on a file that needs no warehouse. Does not belong here: storing it (loader), and the ledger.
Transcripts are the only format that comes in thousands of files. Worker processes write nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa

from pipeline.ingest.sources import claude_code, stream_events
from pipeline.ingest.sources.contract import GZIP_MAGIC, Loaded, Probe, Source
from pipeline.store.processes import AHEAD, interrupts_held_back, pool

# Size of a portion: small, since it waits in memory until it is stored.
PORTION_FILES = 100
PORTION_BYTES = 1 << 22
# Larger files are streamed, one by one.
MAX_BYTES = 1 << 24
# Least amount of text for which worker processes are started.
WORTH_PROCESSES = 1 << 26
_HEAD_BYTES = 1 << 14

Fingerprint = tuple[int, int, int]  # size, modification time and change time (ns)


def fingerprint(found: os.stat_result) -> Fingerprint:
    """Equal fingerprints of a path mean that the file has not changed."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def sha256_of(path: Path) -> str:
    """The sha256 of a file of any size; raises OSError if it cannot be read."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def verdict(source: Source, probe: Probe) -> str | None:
    """The result of `recognise`; JSON that is nested too deeply for Python is of no format."""
    try:
        return source.recognise(probe)
    except RecursionError:
        return None


@dataclass(frozen=True)
class Wanted:
    """A file to read: its fingerprint when listed, its sha256 in an earlier run or '', and whether it is unchanged."""

    path: str
    found: Fingerprint
    known: str = ""
    is_unchanged: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result for a file; `loaded` is None if it has to be loaded alone, or not at all."""

    sha256: str = ""
    loaded: Loaded | None = None
    error: OSError | None = None


@dataclass(frozen=True)
class Portion:
    """The results of some files: an outcome for each, and the rows of those with `loaded`, file by file."""

    outcomes: Sequence[Outcome]
    rows: pa.Table


def portions(wanted: Sequence[Wanted], processes: int) -> Generator[Portion]:
    """Read files; if there are enough, with worker processes (`processes` counts this one too).

    Portions come in the order of the files, each with the outcomes of its files.
    """
    shares = deque(_shares(wanted))
    readable = sum(file.found[0] for file in wanted if file.found[0] < MAX_BYTES)
    if processes > 1 and len(shares) > 1 and readable >= WORTH_PROCESSES:
        yield from _portions_of_processes(shares, processes - 1)  # this process stores
    reader = _Reader()
    # All of them, or those that a dead worker has left.
    while shares:
        yield reader.read(shares.popleft())


def _portions_of_processes(shares: deque[Sequence[Wanted]], processes: int) -> Generator[Portion]:
    """Portions that workers read; each share is removed once it is read. Ends early if a worker dies."""
    submitted: deque[Future[Portion]] = deque()
    readers = pool(processes)
    try:
        while shares:
            with interrupts_held_back():
                for share in itertools.islice(shares, len(submitted), AHEAD * processes):
                    submitted.append(readers.submit(_read, share))
            portion = submitted.popleft().result()
            shares.popleft()
            yield portion
    except (BrokenProcessPool, OSError):
        # A worker was killed, or could not start: the unread shares are still in `shares`.
        return
    finally:
        readers.shutdown(cancel_futures=True)


def _shares(wanted: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    """Files in portions; a file that is too large to be read here adds no bytes."""
    share: list[Wanted] = []
    size = 0
    for file in wanted:
        share.append(file)
        size += file.found[0] if file.found[0] < MAX_BYTES else 0
        if len(share) >= PORTION_FILES or size >= PORTION_BYTES:
            yield share
            share, size = [], 0
    if share:
        yield share


class _Reader:
    """Reads files with one buffer: new memory for each would cost more than reading it."""

    def __init__(self) -> None:
        # Only the filled part takes memory.
        self._buffer = mmap.mmap(-1, MAX_BYTES)

    def read(self, share: Sequence[Wanted]) -> Portion:
        """Parse the files that are transcripts and are not being written."""
        rows = claude_code.Rows()
        outcomes = [self._outcome(file, rows) for file in share]
        return Portion(outcomes, rows.table())

    def _outcome(self, file: Wanted, rows: claude_code.Rows) -> Outcome:
        if file.is_unchanged:
            return Outcome(file.known)
        try:
            sha256, content = self._content(file)
        except OSError as error:
            return Outcome(error=error)
        if content is None or sha256 == file.known or not _is_transcript(file.path, bytes(content[:_HEAD_BYTES])):
            return Outcome(sha256)
        transcript = claude_code.parse(content)
        rows.add(sha256, transcript)
        return Outcome(sha256, transcript.loaded)

    def _content(self, file: Wanted) -> tuple[str, memoryview | None]:
        """The file's sha256, and its content if it fits into the buffer and has not changed."""
        if file.found[0] >= len(self._buffer):
            return sha256_of(Path(file.path)), None
        # Without a file object, which would cost as much as reading.
        handle = os.open(file.path, os.O_RDONLY)
        try:
            content = memoryview(self._buffer)[: os.readv(handle, [self._buffer])]
            sha256 = hashlib.sha256(content).hexdigest()
            is_unchanged = len(content) == file.found[0] and fingerprint(os.fstat(handle)) == file.found
            return sha256, content if is_unchanged else None
        finally:
            os.close(handle)


def _is_transcript(path: str, head: bytes) -> bool:
    """Whether the file is a transcript, and of no format that is tried earlier."""
    if head.startswith(GZIP_MAGIC):
        return False
    probe = Probe(Path(path), head, "none")
    return verdict(stream_events, probe) is None and verdict(claude_code, probe) is not None


def _read(share: Sequence[Wanted]) -> Portion:
    return _reader().read(share)


@cache
def _reader() -> _Reader:
    return _Reader()
