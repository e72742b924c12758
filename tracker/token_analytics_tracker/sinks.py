"""Destinations of events: a folder of JSON lines, or a Redis stream.

Belongs here: writing one encoded event either completely or with an error, from any thread and on both sides of a fork.
Does not belong here: the fields of an event.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
import weakref
from pathlib import Path
from typing import Any, Protocol

# The warehouse reads a file again when it has grown, so files stay small.
ROTATE_BYTES = 16 << 20
# If the disk hangs, only the writing thread waits; others give up after this time.
LOCK_TIMEOUT_SECONDS = 1.0
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
REDIS_TIMEOUT_SECONDS = 0.25


class Sink(Protocol):
    """Stores one event. `write` returns when the event is stored, and raises if it may not be."""

    def write(self, line: bytes, day: str) -> None:
        """Store `line`, JSON with a line end; `day` is today (UTC), like 2026-01-31."""


class ForksChildren(Protocol):
    """An object that must be reset in a forked child."""

    def after_fork(self) -> None:
        """Drop locks and open files of the parent."""


_forked: weakref.WeakSet[ForksChildren] = weakref.WeakSet()


def renew_after_fork(owner: ForksChildren) -> None:
    """Call `owner.after_fork()` in each forked child of this process."""
    _forked.add(owner)


def _after_fork_in_child() -> None:
    for owner in list(_forked):
        owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class FolderSink:
    """JSON lines in files of this process only; a new file each day (UTC) and each `rotate_bytes`.

    Processes do not share files, because a process that is killed during a write can leave half a line, to which
    another process would append. So half a line is always the last of its file, and was never acknowledged.
    """

    def __init__(self, folder: str | os.PathLike[str], *, rotate_bytes: int = ROTATE_BYTES, fsync: bool = False):
        """Write to `folder`, created (0700) with the first event; `fsync` survives a power cut, but is slow."""
        self.folder = Path(folder)
        self._rotate_bytes = rotate_bytes
        self._fsync = fsync
        # a signal handler that tracks may interrupt a write of its own thread
        self._lock = threading.RLock()
        self._descriptor: int | None = None
        self._bytes = 0
        self._day = ""
        renew_after_fork(self)

    def write(self, line: bytes, day: str) -> None:
        """Append one event with one write.

        Raises:
            OSError: it could not be written completely; the written part is removed.

        """
        if not self._lock.acquire(timeout=LOCK_TIMEOUT_SECONDS):
            raise TimeoutError
        try:
            descriptor = self._descriptor
            if descriptor is None or day != self._day or self._bytes >= self._rotate_bytes:
                descriptor = self._open(day)
            elif not os.fstat(descriptor).st_nlink:
                # Somebody deleted the file, or moved it to another disk: what is written to it now would be lost.
                descriptor = self._open(day)
            written = os.write(descriptor, line)
            if written != len(line):
                self._take_back(descriptor)
                raise OSError
            self._bytes += written
            if self._fsync:
                os.fsync(descriptor)
        finally:
            self._lock.release()

    def _open(self, day: str) -> int:
        self._close()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / f"events-{day}-{os.getpid()}-{secrets.token_hex(6)}.jsonl"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | _CLOEXEC, 0o600)
        self._bytes, self._day = 0, day
        return self._descriptor

    def _take_back(self, descriptor: int) -> None:
        """Cut off half an event, which a full disk leaves; if that fails, start another file."""
        try:
            os.ftruncate(descriptor, self._bytes)
        except OSError:
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def close(self) -> None:
        """Close the file; a later event opens another."""
        with self._lock:
            self._close()

    def after_fork(self) -> None:
        """Leave the parent's file and lock to the parent."""
        self._lock = threading.RLock()
        self._close()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file atomically, and create its folder (0600, 0700)."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with open(partial, "wb", opener=_open_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | _CLOEXEC, 0o600)


class RedisSink:
    """A Redis stream: one entry per event, with one field `event` that contains the event as JSON."""

    def __init__(
        self,
        url: str = "redis://127.0.0.1:6379/0",
        *,
        stream: str = "token-analytics:events",
        timeout_seconds: float = REDIS_TIMEOUT_SECONDS,
        pause_seconds: float = 5.0,
    ):
        """Write to `stream` of the server at `url`; after a failure, wait `pause_seconds` before the next attempt.

        Raises:
            ImportError: the package `redis` is missing: install token-analytics-tracker[redis].

        """
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._client: Any = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            # the client's own retries would delay the caller for seconds
            retry=Retry(NoBackoff(), 0),
        )
        self._stream = stream
        self._pause_seconds = pause_seconds
        self._closed_until = 0.0

    def write(self, line: bytes, day: str) -> None:
        """Add one entry.

        Raises:
            ConnectionError: the server failed within the last `pause_seconds`.
            redis.RedisError: the server fails now.

        """
        if time.monotonic() < self._closed_until:
            raise ConnectionError
        try:
            self._client.xadd(self._stream, {"event": line.rstrip(b"\n")})
        except Exception:
            self._closed_until = time.monotonic() + self._pause_seconds
            raise
