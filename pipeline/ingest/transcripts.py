"""Reads, hashes and parses transcript files in bulk, in this process and a second one.

Belongs here: what can be said of a file without the warehouse. Does not belong here: storing it (loader), and the
ledger. Transcripts are the only format that comes in thousands of files. The second process starts without DuckDB and
pandas, in the time in which 25 MB are read; it writes nothing, and ends with the one that started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import pickle
import select
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from pipeline import limits
from pipeline.ingest.sources import claude_code, stream_events
from pipeline.ingest.sources.contract import GZIP_MAGIC, Loaded, Probe, Source

# What is read at a time: not much, since it waits in memory until it is stored.
PORTION_FILES = 100
PORTION_BYTES = 1 << 22
# Larger files are read in pieces, one by one.
MAX_BYTES = 1 << 24
# The second process is started for at least so much.
WORTH_A_PROCESS = 1 << 26
# Portions that are asked of the second process at a time, so that it need not wait for the next one; and those that may
# be read here before one that it was asked for.
_ASKED = 2
_AHEAD = 4
_HEAD_BYTES = 1 << 14
# As much as the system lets a pipe hold: an answer, so that the second process reads on while it waits to be heard.
_PIPE_BYTES = 1 << 20
# pyarrow looks for numpy and pandas when it starts, and needs neither here.
PROGRAM = (
    "import sys; sys.modules.update(numpy=None, pandas=None); "
    "from pipeline.ingest import transcripts; transcripts.serve()"
)

Fingerprint = tuple[int, int, int]  # size, modification time and change time (ns)


def fingerprint(found: os.stat_result) -> Fingerprint:
    """Equal ones of a path mean that nobody wrote to the file."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def sha256_of(path: Path) -> str:
    """The sha256 of a file of any size; raises OSError where it cannot be read."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def verdict(source: Source, probe: Probe) -> str | None:
    """What `recognise` says; JSON that is nested deeper than Python can follow is of no format."""
    try:
        return source.recognise(probe)
    except RecursionError:
        return None


@dataclass(frozen=True)
class Wanted:
    """A file to be read: what it looked like when it was found, the sha256 that it had when an earlier run read it, or
    '', and whether it looks as it did then.
    """

    path: str
    found: Fingerprint
    known: str = ""
    is_unchanged: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a file; `loaded` is None where it has to be loaded by itself, or not at all."""

    sha256: str = ""
    loaded: Loaded | None = None
    error: OSError | None = None


@dataclass(frozen=True)
class Portion:
    """What some files gave: an outcome for each, and the rows of those that have `loaded`, file by file."""

    outcomes: Sequence[Outcome]
    rows: pa.Table


def portions(wanted: Sequence[Wanted], processes: int) -> Generator[Portion]:
    """Read files, some of them in a second process where `processes` lets one be and it is worth it.

    Portions come in the order of the files, each with the outcomes of as many as it covers.
    """
    shares = list(_shares(wanted))
    readable = sum(file.found[0] for file in wanted if file.found[0] < MAX_BYTES)
    beside = _Beside.begin() if processes > 1 and len(shares) > 1 and readable >= WORTH_A_PROCESS else None
    here = _Reader()
    read: dict[int, Portion] = {}
    asked: deque[int] = deque()
    following = 0
    try:
        for number in range(len(shares)):
            while number not in read:
                while beside and len(asked) < _ASKED and following < len(shares):
                    beside.ask(shares[following])
                    asked.append(following)
                    following += 1
                can_read_on = following < len(shares) and len(read) < _AHEAD
                if beside and asked and (not can_read_on or beside.has_answered()):
                    answer = beside.answer()
                    if answer:
                        read[asked.popleft()] = answer
                    else:
                        beside.close()
                        beside = None
                elif asked and not beside:
                    again = asked.popleft()
                    read[again] = here.read(shares[again])
                else:
                    read[following] = here.read(shares[following])
                    following += 1
            yield read.pop(number)
    finally:
        if beside:
            beside.close()


def _shares(wanted: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    """Files in portions; a file that is too large to be read here counts for nothing."""
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
        # Of this only as much takes memory as has been filled.
        self._buffer = mmap.mmap(-1, MAX_BYTES)

    def read(self, share: Sequence[Wanted]) -> Portion:
        """Take apart the files that are transcripts and lie still."""
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
        """The file's sha256, and all of it where it fits into the buffer and nobody has written to it."""
        if file.found[0] >= len(self._buffer):
            return sha256_of(Path(file.path)), None
        # Without a file object, which would cost as much as the reading.
        handle = os.open(file.path, os.O_RDONLY)
        try:
            content = memoryview(self._buffer)[: os.readv(handle, [self._buffer])]
            sha256 = hashlib.sha256(content).hexdigest()
            lies_still = len(content) == file.found[0] and fingerprint(os.fstat(handle)) == file.found
            return sha256, content if lies_still else None
        finally:
            os.close(handle)


def _is_transcript(path: str, head: bytes) -> bool:
    """Whether no format that is asked earlier claims the file, and transcripts do."""
    if head.startswith(GZIP_MAGIC):
        return False
    probe = Probe(Path(path), head, "none")
    return verdict(stream_events, probe) is None and verdict(claude_code, probe) is not None


class _Beside:
    """The second process: asked through its standard input, heard through its standard output."""

    def __init__(self) -> None:
        package = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
            [sys.executable, "-S", "-P", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # an error's words may be those of a prompt
            env=os.environ | {"PYTHONPATH": os.pathsep.join([package, *filter(None, sys.path)])},
            process_group=0,  # Ctrl-C is for the one that began it
        )
        self._questions = cast(IO[bytes], self._process.stdin)
        # Else each process could wait for the other to hear it.
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="ask")
        self._answers = cast(IO[bytes], self._process.stdout)
        self._asking.submit(self._ask, limits.in_force())
        # Not every system has it, or lets a user have it.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @classmethod
    def begin(cls) -> _Beside | None:
        """Start it; None where the system has no room for a further process."""
        try:
            return cls()
        except OSError:
            return None

    def ask(self, share: Sequence[Wanted]) -> None:
        """Have it read a share, without waiting; where it has ended, `answer` tells."""
        self._asking.submit(self._ask, share)

    def _ask(self, question: object) -> None:
        with contextlib.suppress(OSError):
            pickle.dump(question, self._questions)
            self._questions.flush()

    def has_answered(self) -> bool:
        """Whether there is something to hear, be it that it has ended."""
        return bool(select.select([self._answers], [], [], 0)[0])

    def answer(self) -> Portion | None:
        """Wait for what the share that was asked for first has given; None where it has ended."""
        try:
            outcomes = pickle.load(self._answers)  # noqa: S301 - written by this module
            return Portion(outcomes, pa.ipc.open_stream(self._answers).read_all())
        except (EOFError, OSError, pickle.UnpicklingError, pa.ArrowInvalid):
            return None

    def close(self) -> None:
        """End it: it holds nothing that would be lost."""
        self._process.kill()
        self._asking.shutdown()
        for pipe in (self._questions, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()


def serve() -> None:
    """What the second process does: read each share that it is asked for, until nobody asks any more."""
    reader = _Reader()
    questions: IO[bytes] = sys.stdin.buffer
    answers: IO[bytes] = sys.stdout.buffer
    with contextlib.suppress(EOFError, BrokenPipeError):
        limits.use(pickle.load(questions))  # noqa: S301 - written by this module
        while True:
            portion = reader.read(pickle.load(questions))  # noqa: S301 - written by this module
            pickle.dump(portion.outcomes, answers)
            with pa.ipc.new_stream(answers, portion.rows.schema) as writer:
                writer.write_table(portion.rows)
            answers.flush()
    os._exit(0)
