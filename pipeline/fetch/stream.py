"""Drains tracker events from a Redis stream into files of landing.

Belongs here: reading the stream as one consumer of a group, writing and acknowledging the entries. Does not belong
here: writing to the stream (the tracker), and reading the files (sources/stream_events). An entry is acknowledged after
its file is on disk. After a killed drain it is delivered again; the event's id prevents double counting.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.fetch import landing
from pipeline.ingest.sources import stream_events
from pipeline.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from redis import Redis

SOURCE = "stream"
# Entries per read: an entry is a few hundred bytes, and may be much longer.
READ_ENTRIES = 200
# A file is finished, and its entries acknowledged, at this many entries or bytes, or at the end of the stream.
FILE_ENTRIES = 50_000
FILE_BYTES = 64 << 20
# After this time without acknowledgement, another consumer counts as dead, and its entries are claimed.
CLAIM_IDLE_MILLISECONDS = 60_000
TIMEOUT_SECONDS = 10.0
# Not allowed in JSON text; a line with them would be read as two lines, or its file as binary.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")

# Origin of entries: left by a drain of this home, left by one of another machine, or not delivered before.
OWN, CLAIMED, NEW = "own", "claimed", "new"

Entry = tuple[bytes, Mapping[bytes, bytes] | None]


@dataclass
class Drained:
    """The result of a drain.

    Attributes:
        entries: landed and acknowledged.
        recovered: among these, entries that an earlier drain did not acknowledge.
        gone: delivered before, and deleted from the stream since: they are lost.
        files: with the entries.

    """

    entries: int = 0
    recovered: int = 0
    gone: int = 0
    files: list[Path] = field(default_factory=list)


def drain(settings: Settings) -> Drained:
    """Land the entries that the stream holds now, and acknowledge them.

    Raises:
        ConfigurationError: no stream is configured; the server fails; another drain of this home is running.
            Acknowledged entries are landed, and the next drain takes the rest.

    """
    if not _url(settings):
        raise ConfigurationError(
            "no stream is configured: set TOKEN_ANALYTICS_STREAM_URL, such as redis://redis.example:6379/0"
        )
    drained = Drained()
    with landing.opened(settings, SOURCE) as folder, _without_secrets(), _connected(settings) as client:
        _make_group(client, settings)
        name, group, me = settings.stream_name, settings.stream_group, _consumer(settings)
        # Entries that arrive during this drain wait for the next one: a busy stream would never end.
        last = _place(client.xinfo_stream(name)["last-generated-id"])
        with contextlib.closing(_File(folder)) as file:
            phase = ""
            for entries, found_in in _entries(client, name, group, me, last):
                if found_in != phase:
                    # Entries that a killed drain landed without acknowledging them give the same file again.
                    _land(client, settings, file, drained)
                phase = found_in
                held = [entry for entry in entries if entry[1] is not None]
                gone = [place for place, fields in entries if fields is None]
                if gone:
                    client.xack(name, group, *gone)
                file.write(held)
                drained.gone += len(gone)
                drained.recovered += len(held) if phase != NEW else 0
                if len(file.places) >= FILE_ENTRIES or file.bytes >= FILE_BYTES:
                    _land(client, settings, file, drained)
            _land(client, settings, file, drained)
        _drop_dead_consumers(client, name, group, me)
    return drained


def waiting(settings: Settings) -> bool:
    """Whether the stream holds undrained entries; without a configured stream, no server is contacted.

    Raises:
        ConfigurationError: the server fails.

    """
    if not _url(settings):
        return False
    name = settings.stream_name
    with _without_secrets(), _connected(settings) as client:
        if not client.exists(name):
            return False
        for group in client.xinfo_groups(name):
            if group["name"].decode() == settings.stream_group:
                last = client.xinfo_stream(name)["last-generated-id"]
                return bool(group["pending"]) or _place(group["last-delivered-id"]) < _place(last)
        return bool(client.xlen(name))


def _url(settings: Settings) -> str:
    return settings.stream_url.get_secret_value() if settings.stream_url else ""


@contextlib.contextmanager
def _connected(settings: Settings) -> Iterator[Redis]:
    import redis

    try:
        # Protocol 2: the shapes of answers differ between protocols.
        client = redis.Redis.from_url(
            _url(settings), protocol=2, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
        # invalid options of the URL are only detected when a connection is made
        client.connection_pool.make_connection()
    except (ValueError, TypeError):
        # the error quotes a part of the URL, which may be part of a password
        raise ConfigurationError(
            "TOKEN_ANALYTICS_STREAM_URL is no URL of a Redis server: give it as redis://host:6379/0 (special "
            "characters in a password have to be percent-encoded)"
        ) from None
    with client:
        yield client


def _consumer(settings: Settings) -> str:
    """The consumer's name: the same in each drain of a home, to continue its unacknowledged entries."""
    return f"{socket.gethostname()}-{hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:12]}"


def _make_group(client: Redis, settings: Settings) -> None:
    """Create the group at the first entry of the stream: entries before the first drain count, too."""
    import redis

    try:
        client.xgroup_create(settings.stream_name, settings.stream_group, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def _place(entry_id: bytes) -> tuple[int, int]:
    """An entry's id as a sort key."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number or 0)


def _entries(
    client: Redis, name: str, group: str, me: str, last: tuple[int, int]
) -> Iterator[tuple[Sequence[Entry], str]]:
    """The entries to land, up to entry `last`, with their origin; a deleted entry has no fields."""
    start = b"0"
    while entries := _read(client, name, group, me, start):
        yield entries, OWN
        start = entries[-1][0]
    start = b"0-0"
    while True:
        # Redis 6.2 returns nothing for deleted entries, later versions a third list
        start, claimed, *deleted = client.xautoclaim(
            name, group, me, CLAIM_IDLE_MILLISECONDS, start_id=start, count=READ_ENTRIES
        )
        gone = [(place, None) for place in (deleted[0] if deleted else ())]
        yield [*((place, fields or None) for place, fields in claimed if place), *gone], CLAIMED
        if start == b"0-0":
            break
    while entries := _read(client, name, group, me, b">"):
        yield entries, NEW
        if _place(entries[-1][0]) >= last:
            return


def _read(client: Redis, name: str, group: str, me: str, start: bytes) -> list[Entry]:
    answer: Any = client.xreadgroup(group, me, {name: start}, count=READ_ENTRIES)
    return [(place, fields or None) for _, entries in answer or () for place, fields in entries]


def _land(client: Redis, settings: Settings, file: _File, drained: Drained) -> None:
    """Finish the file, then acknowledge its entries, all or none."""
    places = file.places
    if not places:
        return
    drained.files.append(file.finish())
    with client.pipeline(transaction=True) as answer:
        for at in range(0, len(places), 1000):
            answer.xack(settings.stream_name, settings.stream_group, *places[at : at + 1000])
            if settings.stream_delete:
                answer.xdel(settings.stream_name, *places[at : at + 1000])
        answer.execute()
    drained.entries += len(places)


def _drop_dead_consumers(client: Redis, name: str, group: str, me: str) -> None:
    """Delete consumers of other machines without pending entries that were idle for a day."""
    for consumer in client.xinfo_consumers(name, group):
        if consumer["name"].decode() != me and not consumer["pending"] and consumer["idle"] > 86_400_000:
            client.xgroup_delconsumer(name, group, consumer["name"])


class _File:
    """A file of events, one per line, that appears in the folder when complete.

    Its name is a hash of its content: entries that are delivered again after a kill give the same file.
    """

    def __init__(self, folder: Path) -> None:
        self.places: list[bytes] = []
        self.bytes = 0
        self._folder = folder
        self._path = landing.unfinished(folder, "events")
        self._open()

    def _open(self) -> None:
        self.places, self.bytes = [], 0
        self._hash = hashlib.sha256()
        self._handle = self._path.open("wb")
        self._append(stream_events.FIRST_LINE)

    def _append(self, line: bytes) -> None:
        self._handle.write(line + b"\n")
        self._hash.update(line + b"\n")
        self.bytes += len(line) + 1

    def write(self, entries: Sequence[Entry]) -> None:
        for place, fields in entries:
            self._append(_line(fields or {}))
            self.places.append(place)

    def finish(self) -> Path:
        self._handle.close()
        name = f"events-{self.places[0].decode()}-{self._hash.hexdigest()[:16]}.jsonl"
        path = landing.finish(self._path, self._folder, name)
        self._open()
        return path

    def close(self) -> None:
        self._handle.close()
        self._path.unlink(missing_ok=True)


def _line(fields: Mapping[bytes, bytes]) -> bytes:
    """An entry as one line: its event unchanged or, if that cannot be a line of text, the whole entry as a JSON string.

    Such a string is no event: ingest rejects it, with its text in the private quarantine.
    """
    event = fields.get(b"event", b"")
    # In JSON, line ends occur only between values, where they equal a space.
    line = re.sub(rb"[\r\n]+", b" ", event).strip()
    if line and not _CONTROL.search(line) and _is_utf8(line):
        return line
    text = event if fields.keys() == {b"event"} else repr(dict(fields)).encode()
    return json.dumps(text.decode("utf-8", "backslashreplace")).encode()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """Replace the client's errors by our own messages: the client quotes parts of the URL, which contains secrets."""
    import redis

    url = "TOKEN_ANALYTICS_STREAM_URL"
    stays = "what was acknowledged is landed, and the next drain takes the rest"
    try:
        yield
    except redis.AuthenticationError:
        problem = f"Redis: the server wants another user or password than {url} states"
    except redis.exceptions.NoPermissionError:
        problem = "Redis: this user may not read the stream as a group (xgroup, xreadgroup, xautoclaim, xack, xinfo)"
    except redis.TimeoutError:
        problem = f"Redis: the server of {url} does not answer; {stays}"
    except redis.ConnectionError:
        problem = f"Redis: the server of {url} cannot be reached; {stays}"
    except redis.ResponseError as error:
        message = str(error)
        if message.startswith("WRONGTYPE"):
            problem = "Redis: the key that stream_name names is no stream"
        else:
            problem = f"Redis: the server refused a command ({message.split(' ')[0][:40]})"
    except redis.RedisError as error:
        problem = f"Redis: the drain failed ({type(error).__name__}); {stays}"
    else:
        return
    raise ConfigurationError(problem) from None
