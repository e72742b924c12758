"""Log the token usage of LLM calls from inside an application: numbers and ids, never content.

    tracker = TokenTracker("anthropic", "usage-events", api_key="backend")
    tracker.track(conversation_id="c-17", response=client.messages.create(...))

Belongs here: the fields of an event and of a session file (docs/tracker.md of token-analytics describes both). Does not
belong here: reading responses (usage) and writing events (sinks). Standard library only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from token_analytics_tracker.sinks import ROTATE_BYTES, FolderSink, Sink, renew_after_fork, replace_file
from token_analytics_tracker.usage import NoUsageError, label, read

EVENT_SCHEMA = "token-analytics-tracker/1"
SESSION_SCHEMA = "token-analytics-tracker-session/1"
# Metadata that is written by default; all other metadata is dropped.
METADATA_KEYS = ("project", "environment", "team", "feature", "version")
# Metadata that becomes a field of the event: `track_conversation` has no other argument for it.
_METADATA_FIELDS = ("user_id", "session_id", "model", "api_key", "workspace")
_METADATA_COUNTS = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "web_search_count")
# The events file has every event; a session file is kept in memory until it is saved, so it has only the first ones.
_MAX_SESSION_EVENTS = 100_000
_COST_STEP_USD = Decimal("0.000000000001")
_MAX_COST_USD = Decimal(10) ** 12

_logger = logging.getLogger("token_analytics_tracker")
_encode = json.JSONEncoder(separators=(",", ":")).encode


class TokenTracker:
    """Writes one event per call. No method raises; failures are counted in `errors`, and the first one is logged.

    A tracker serves all threads of a process, and continues in a forked child.

    Attributes:
        errors: calls that were not acknowledged.
        fallbacks: events that the sink refused and that went to the folder.

    """

    def __init__(
        self,
        provider: str,
        storage_path: str | os.PathLike[str],
        *,
        model: str = "",
        user_id: str = "",
        session_id: str = "",
        api_key: str = "",
        workspace: str = "",
        metadata_keys: Iterable[str] = METADATA_KEYS,
        sink: Sink | None = None,
        rotate_bytes: int = ROTATE_BYTES,
        fsync: bool = False,
    ):
        """Track calls to `provider` (anthropic, openai, google, ...).

        Args:
            provider: the provider of calls that do not name one.
            storage_path: folder of the events; created with the first event.
            model: the model of calls with a response that does not name it.
            user_id: default for calls, like session_id, api_key and workspace. An api_key is a name;
                anything that looks like a secret is replaced by a fingerprint.
            session_id: see user_id.
            api_key: see user_id.
            workspace: see user_id.
            metadata_keys: the names of `metadata` that are written.
            sink: a RedisSink; events that it refuses go to the folder.
            rotate_bytes: size at which a new file is started.
            fsync: flush each event to disk.

        """
        self.errors = 0
        self.fallbacks = 0
        self._folder = FolderSink(storage_path, rotate_bytes=rotate_bytes, fsync=fsync)
        self._sink = sink
        self._defaults = {
            "provider": provider, "model": model, "user_id": user_id, "session_id": session_id, "api_key": api_key,
            "workspace": workspace,
        }  # fmt: skip
        self._metadata_keys = frozenset(metadata_keys)
        self._second = (0, "")
        self._session: list[str] = []
        self._session_left_out = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start new event ids and a new session file; called in a forked child."""
        self._writer = secrets.token_hex(12)
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._has_logged = False
        self._started_at = self._now()
        self._session, self._session_left_out = [], 0

    def track(
        self,
        *,
        conversation_id: str,
        response: object = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int = 0,
        cache_write_5m_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
        web_search_count: int = 0,
        provider: str = "",
        model: str = "",
        user_id: str = "",
        session_id: str = "",
        api_key: str = "",
        workspace: str = "",
        cost_usd: Decimal | float | str | None = None,
        metadata: Mapping[str, object] | None = None,
        timestamp: datetime | float | None = None,
    ) -> str:
        """Write one call, from the provider's response or from plain counts.

        Args:
            conversation_id: the conversation of the call.
            response: a response of Anthropic, OpenAI or Gemini as an object or dictionary, or only its usage body.
            input_tokens: without cached tokens; plain counts are disjoint, and ignored if there is a response.
            output_tokens: including thinking.
            cache_read_tokens: read from the cache.
            cache_write_5m_tokens: written to the cache for five minutes.
            cache_write_1h_tokens: written to the cache for an hour.
            web_search_count: searches that the provider bills.
            provider: replaces the tracker's; likewise model, user_id, session_id, api_key and workspace.
            model: see provider; also replaces the response's model.
            user_id: see provider.
            session_id: see provider.
            api_key: see provider.
            workspace: see provider.
            cost_usd: the cost of the call, if the caller knows it.
            metadata: only the tracker's `metadata_keys` are written.
            timestamp: time of the call, if not now: aware, naive UTC, or seconds since 1970.

        Returns:
            The event's id if it was stored (acknowledged), else "".

        """
        try:
            stated = {
                "provider": provider, "model": model, "user_id": user_id, "session_id": session_id, "api_key": api_key,
                "workspace": workspace,
            }  # fmt: skip
            if response is not None:
                found = read(response)
                event = self._event(conversation_id, stated, found.usage, found.model, cost_usd, metadata, timestamp)
                if found.response_id:
                    event["response_id"] = found.response_id
            else:
                usage = _counts(
                    input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
                    web_search_count,
                )  # fmt: skip
                event = self._event(conversation_id, stated, usage, "", cost_usd, metadata, timestamp)
            self._store(_encode(event))
        except Exception as error:
            return self._failed(error)
        return str(event["event_id"])

    def track_conversation(
        self,
        conversation_id: str,
        input_tokens: int,
        output_tokens: int,
        cost: Decimal | float | str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> str:
        """Write one call from plain counts, as `track` does, and keep it for `save_session`.

        `metadata` may also name user_id, session_id, model, api_key, workspace and the counts of the cache
        (cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens) and of web searches (web_search_count).
        `cost` is in USD. Returns what `track` returns.
        """
        try:
            given = dict(metadata or {})
            stated = {name: given[name] for name in _METADATA_FIELDS if given.get(name)}
            usage = _counts(input_tokens, output_tokens, *(given.get(name) or 0 for name in _METADATA_COUNTS))
            event = self._event(conversation_id, stated, usage, "", cost, metadata, None)
            line = _encode(event)
            self._store(line)
            with self._lock:
                if len(self._session) < _MAX_SESSION_EVENTS:
                    self._session.append(line)
                else:
                    self._session_left_out += 1
        except Exception as error:
            return self._failed(error)
        return str(event["event_id"])

    def save_session(self) -> Path | None:
        """Write the events of `track_conversation` in this process to one JSON file next to the events files.

        A later save replaces the file. Its events have the same ids as in the events files, so a reader of both counts
        each once. Returns the file, or None if it could not be written.
        """
        try:
            with self._lock:
                lines, left_out = self._session.copy(), self._session_left_out
            events = [json.loads(line) for line in lines]
            session = {
                "schema": SESSION_SCHEMA,
                "writer": self._writer,
                "provider": label(self._defaults["provider"]),
                "session_id": label(self._defaults["session_id"]),
                "started_at": self._started_at,
                "saved_at": self._now(),
                "event_count": len(events),
                "events_left_out": left_out,
                "totals": _totals(events),
                "events": events,
            }
            path = self._folder.folder / f"session-{self._writer}.json"
            replace_file(path, (json.dumps(session, indent=1) + "\n").encode("ascii"))
        except Exception as error:
            self._failed(error)
            return None
        return path

    def close(self) -> None:
        """Close the events file; a later event opens another."""
        try:
            self._folder.close()
        except Exception as error:
            self._failed(error)

    def _event(
        self,
        conversation_id: object,
        stated: Mapping[str, object],
        usage: dict[str, Any],
        model: str,
        cost_usd: Decimal | float | str | None,
        metadata: Mapping[str, object] | None,
        timestamp: datetime | float | None,
    ) -> dict[str, object]:
        """The event without the fields of a response; fields without a value are left out."""
        event: dict[str, object] = {
            "schema": EVENT_SCHEMA,
            "event_id": f"{self._writer}-{next(self._numbers):x}",
            "timestamp": self._now() if timestamp is None else _utc(timestamp),
            "conversation_id": label(conversation_id),
        }
        for name, default in self._defaults.items():
            own = stated.get(name) or (model if name == "model" else "") or default
            if own or name == "provider":
                event[name] = label(own)
        event["usage"] = usage
        if cost_usd is not None and (cost := _usd(cost_usd)):
            event["cost_usd"] = cost
        if metadata and (kept := self._allowed(metadata)):
            if isinstance(project := kept.get("project"), str):
                event["project"] = project
                del kept["project"]
            if kept:
                event["metadata"] = kept
        return event

    def _allowed(self, metadata: Mapping[str, object]) -> dict[str, object]:
        kept: dict[str, object] = {}
        for name in self._metadata_keys & metadata.keys():
            value = metadata[name]
            if isinstance(value, str):
                kept[name] = label(value)
            elif isinstance(value, bool | int) or (isinstance(value, float) and value - value == 0):
                kept[name] = value
        return kept

    def _store(self, event: str) -> None:
        line = event.encode("ascii") + b"\n"
        day = self._now()[:10]
        if self._sink is not None:
            try:
                self._sink.write(line, day)
            except Exception:
                with self._lock:
                    self.fallbacks += 1
            else:
                return
        self._folder.write(line, day)

    def _now(self) -> str:
        """The current time in UTC with microseconds; the text of the second is cached."""
        nanoseconds = time.time_ns()
        seconds = nanoseconds // 1_000_000_000
        second, text = self._second
        if second != seconds:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            self._second = (seconds, text)
        return f"{text}.{nanoseconds // 1000 % 1_000_000:06d}Z"

    def _failed(self, error: Exception) -> str:
        """Count a failure, and log the first one: only its type, because its text may quote arguments."""
        with self._lock:
            self.errors += 1
            is_first, self._has_logged = not self._has_logged, True
        if is_first:
            kind = "no usage in the response" if isinstance(error, NoUsageError) else type(error).__name__
            with contextlib.suppress(Exception):  # raised by a handler of the application
                _logger.warning("A call was not tracked (%s); further ones are only counted, in .errors", kind)
        return ""


def _counts(
    input_tokens: object,
    output_tokens: object,
    cache_read_tokens: object,
    cache_write_5m_tokens: object,
    cache_write_1h_tokens: object,
    web_search_count: object,
) -> dict[str, Any]:
    """Disjoint counts as Anthropic's usage body, in which input excludes cached tokens."""
    if input_tokens is None and output_tokens is None:
        raise NoUsageError
    reads, short, long = _count(cache_read_tokens), _count(cache_write_5m_tokens), _count(cache_write_1h_tokens)
    usage: dict[str, Any] = {"input_tokens": _count(input_tokens or 0), "output_tokens": _count(output_tokens or 0)}
    if reads:
        usage["cache_read_input_tokens"] = reads
    if short or long:
        usage["cache_creation_input_tokens"] = short + long
        usage["cache_creation"] = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    if searches := _count(web_search_count):
        usage["server_tool_use"] = {"web_search_requests": searches}
    return usage


def _count(value: Any) -> int:
    """A whole number of tokens, also from a float or text."""
    count = int(value)
    if isinstance(value, bool) or count != float(value) or count < 0:
        raise ValueError
    return count


def _utc(timestamp: datetime | float) -> str:
    if isinstance(timestamp, datetime):
        aware = timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)
    else:
        aware = datetime.fromtimestamp(timestamp, UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%S.") + f"{aware.microsecond:06d}Z"


def _usd(cost: Decimal | float | str) -> str:
    """Money as text, because numbers in JSON are floats; '' if it is not an amount."""
    try:
        amount = Decimal(str(cost))
        if not amount.is_finite() or not 0 <= amount < _MAX_COST_USD:
            return ""
        # The warehouse keeps as many decimals.
        exact = amount.quantize(_COST_STEP_USD)
    except ArithmeticError:
        return ""
    return format(exact.normalize(), "f")


def _totals(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums for people who open the file: tokens, and USD as text. Programs sum the events themselves."""
    bodies = [event["usage"] for event in events]
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    totals: dict[str, Any] = {name: sum(body.get(name, 0) for body in bodies) for name in names}
    totals["conversations"] = len({event["conversation_id"] for event in events})
    costs = [Decimal(event["cost_usd"]) for event in events if "cost_usd" in event]
    totals["cost_usd"] = format(sum(costs, Decimal()), "f") if costs else None
    return totals
