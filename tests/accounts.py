"""Random accounts of a provider, and overlapping exports and transcripts of their usage.

Belongs here: usage of an account, and files of it. Does not belong here: which file counts (oracle, test_overlaps).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import oracle
from hypothesis import strategies as st

DAY = dt.datetime(2026, 2, 17)
MINUTE, HOUR, WHOLE_DAY = 60, 3600, 86400
ALWAYS = ("model_version", "api_key", "workspace", "usage_type")
LATER = {10: (), 11: (), 12: ("context_window",), 14: ("context_window", "inference_geo", "speed")}

COLUMNS = {
    10: "usage_date_utc,model_version,api_key,workspace,usage_type,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write,usage_input_tokens_cache_read,usage_output_tokens,web_search_count",
    11: "usage_date_utc,model_version,api_key,workspace,usage_type,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count",
    12: "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count",
    14: "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count,inference_geo,speed",
}

# The console's spelling of each canonical value.
WRITTEN = {"(workbench)": "", "0-200k": "≤ 200k", "200k-1M": "200k-1M", "Default": "default"}
STAMPS = {MINUTE: "%Y-%m-%d %H:%M", HOUR: "%Y-%m-%d %H:00", WHOLE_DAY: "%Y-%m-%d"}


@dataclass(frozen=True)
class Usage:
    """Tokens of one minute and key, and when they appear in the console's reports."""

    minute: dt.datetime
    known_at: dt.datetime
    dimensions: dict[str, str]
    counts: oracle.Counts


@dataclass(frozen=True)
class Request:
    """The request for an export; hours count from the start of the account's history."""

    grain: int
    generation: int
    first_hour: int
    hours: int
    taken_after_hours: int
    only: tuple[str, str] | None = None  # column and value
    copies: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Account:
    """Two days of usage and its exports. No two accounts of a landing share a day."""

    begin: dt.datetime
    history: tuple[Usage, ...]
    requests: tuple[Request, ...]

    @classmethod
    def of(cls, number: int, seed: int, requests: Sequence[Request]) -> Account:
        begin = DAY + dt.timedelta(days=3 * number)
        return cls(begin, tuple(usage_history(begin, seed)), tuple(requests))

    def exports(self) -> list[tuple[Request, list[oracle.ConsoleRow]]]:
        """Each request with its rows; requests without rows are left out."""
        exports = [(request, taken(self.history, self.begin, request)) for request in self.requests]
        # A minute file with rows only at full hours looks like an hour file.
        return [
            (request, rows)
            for request, rows in exports
            if rows and (request.grain != MINUTE or any(row.start.minute for row in rows))
        ]


def usage_history(begin: dt.datetime, seed: int, days: int = 2, moments: int = 26) -> list[Usage]:
    """Usage at a few dozen moments of two days, with so few keys that exports overlap in each."""
    chance = random.Random(seed)
    history = []
    for _ in range(moments):
        minute = begin + dt.timedelta(
            minutes=chance.choice([chance.randrange(days * 1440), 600 + chance.randrange(90)])
        )
        for _ in range(chance.randint(1, 3)):
            dimensions = {
                "model_version": chance.choice(["claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"]),
                "api_key": chance.choice(["alpha", "(workbench)", 'quoted, "key"']),
                "workspace": chance.choice(["Default", "Default", "research"]),
                "usage_type": chance.choice(["standard", "standard", "standard", "batch"]),
                "context_window": chance.choice(["0-200k", "0-200k", "200k-1M"]),
                "inference_geo": chance.choice(["", "", "us"]),
                "speed": chance.choice(["", "", "fast"]),
            }
            tokens = [chance.choice([0, chance.randrange(1, 5000)]) for _ in range(5)]
            counts: Any = (*tokens, chance.randrange(3))
            known_at = minute + dt.timedelta(hours=chance.choice([0, 0, 0, 1, 5]))
            history.append(Usage(minute, known_at, dimensions, counts))
    return history


def taken(history: Sequence[Usage], begin: dt.datetime, request: Request) -> list[oracle.ConsoleRow]:
    """The rows that the console would return for `request`."""
    first = begin + dt.timedelta(hours=request.first_hour)
    last = first + dt.timedelta(hours=request.hours)
    now = begin + dt.timedelta(hours=request.taken_after_hours)
    stated = ALWAYS + LATER[request.generation]
    cells: dict[tuple[Any, ...], list[oracle.Counts]] = {}
    for usage in history:
        start = usage.minute - dt.timedelta(seconds=(usage.minute - begin).total_seconds() % request.grain)
        if not first <= start < last or usage.known_at > now:
            continue
        if request.only and usage.dimensions[request.only[0]] != request.only[1]:
            continue
        key = tuple((name, usage.dimensions[name]) for name in stated)
        cells.setdefault((start, key), []).append(usage.counts)
    rows = []
    for (start, key), parts in cells.items():
        total: Any = tuple(sum(column) for column in zip(*parts, strict=True))
        if request.generation == 10:
            total = (total[0], total[1] + total[2], 0, *total[3:])
        rows.append(oracle.ConsoleRow(start, request.grain, key, total, request.generation > 10))
    return rows


def as_csv(rows: Sequence[oracle.ConsoleRow], request: Request, copy: int = 0) -> str:
    """The file that the console writes of `rows`: some of them in two parts, in any order; copies differ in bytes."""
    chance = random.Random(request.seed + copy)
    parts = []
    for row in rows:
        if chance.random() < 0.2:
            piece: Any = tuple(chance.randint(0, count) for count in row.counts)
            rest: Any = tuple(count - off for count, off in zip(row.counts, piece, strict=True))
            parts += [replace(row, counts=piece), replace(row, counts=rest)]
        else:
            parts.append(row)
    chance.shuffle(parts)
    lines = [COLUMNS[request.generation]]
    for row in parts:
        key = {name: WRITTEN.get(value, value) for name, value in row.key}
        key = {name: '"' + value.replace('"', '""') + '"' if "," in value else value for name, value in key.items()}
        counts = list(row.counts)
        if request.generation == 10:
            del counts[oracle.WRITE_1H]
        cells = [row.start.strftime(STAMPS[row.seconds]), *(key[name] for name in ALWAYS)]
        cells += [key[name] for name in LATER[request.generation][:1]]
        cells += [str(count) for count in counts]
        cells += [key["inference_geo"] or "not_available", key["speed"]] if request.generation == 14 else []
        lines.append(",".join(cells))
    end = chance.choice(["\n", "\r\n"])
    return chance.choice(["", "\ufeff"]) + end.join(lines) + end * chance.choice([0, 1, 2])


def texts_of(accounts: Sequence[Account]) -> dict[str, tuple[oracle.ConsoleRow, ...]]:
    """Every exported file's text, with the rows in it; a request's copies differ in their bytes only."""
    return {
        as_csv(rows, request, copy): tuple(rows)
        for account in accounts
        for request, rows in account.exports()
        for copy in range(request.copies)
    }


def landing(accounts: Sequence[Account], seed: int) -> dict[str, str]:
    """The exports under arbitrary names, in any order, and one of them twice, byte for byte."""
    files = list(texts_of(accounts))
    random.Random(seed).shuffle(files)
    named = {f"{i:02}/{hashlib.sha256(text.encode()).hexdigest()[: i % 7 + 1]}": text for i, text in enumerate(files)}
    return {"again/copy": files[0], **named}


def accounts(requests: st.SearchStrategy[Request], at_least: int) -> st.SearchStrategy[list[Account]]:
    """One to four accounts with at least one export in total."""
    drawn = st.tuples(st.integers(0, 10_000), st.lists(requests, min_size=at_least, max_size=6))
    made = st.lists(drawn, min_size=1, max_size=4).map(lambda all_: [Account.of(i, *one) for i, one in enumerate(all_)])
    return made.filter(texts_of)


def lines_of(chance: random.Random, sessions: Sequence[str], begin: dt.datetime) -> list[str]:
    """Lines of one response, streamed: its usage repeats and grows, with any of the oddities of real transcripts.

    The same message's id, of few, stands with several requests' ids and without any: then one that a gateway gives to
    all turns, which differ in input or lie half an hour apart.
    """
    message, request_id = f"msg_{chance.randrange(8)}", chance.choice(["", "", "req_1", "req_1", "req_2"])
    if message in ("msg_6", "msg_7"):
        message += "_as_long_as_the_providers"
    session, sidechain = chance.choice(sessions), chance.random() < 0.25
    unsplit = chance.random() < 0.3
    # One response has one input, tier, region and speed; early lines may leave out the latter.
    of_message = random.Random(message + chance.choice(["", "", "another turn"]))
    tier, geo, speed = (random.Random(message + name).choice(["", name]) for name in ("standard", "us", "fast"))
    fresh, write_5m, write_1h, read = (
        of_message.choice(some) for some in ([3, 250_000], [0, 900], [0, 700], [0, 20_000])
    )
    usage: dict[str, Any] = {
        "input_tokens": fresh, "cache_creation_input_tokens": write_5m + write_1h, "cache_read_input_tokens": read,
    }  # fmt: skip
    if not unsplit:
        usage["cache_creation"] = {"ephemeral_5m_input_tokens": write_5m, "ephemeral_1h_input_tokens": write_1h}
    inside = [
        {"type": "message", "input_tokens": 3, "output_tokens": 1},
        {"type": "advisor_message", "model": "claude-opus-4-7", "input_tokens": 5_000, "output_tokens": 70},
        {"type": "compaction", "input_tokens": 180_000, "cache_read_input_tokens": 4, "output_tokens": 300},
    ]
    begin += dt.timedelta(minutes=30 * chance.randrange(4))
    lines = []
    for _ in range(chance.randint(1, 4)):
        streamed = chance.randrange(60_000)
        body = usage | {"output_tokens": 1 if streamed < 15_000 else 40 if streamed < 45_000 else 900}
        if chance.random() < 0.7:
            body |= {"service_tier": tier or None, "inference_geo": geo or "not_available", "speed": speed or None}
        if chance.random() < 0.2:
            body["server_tool_use"] = {"web_search_requests": chance.randrange(3)}
        if chance.random() < 0.2:
            body["iterations"] = inside[: chance.randrange(4)]
        entry = {
            "type": "assistant",
            "uuid": f"{chance.randrange(10**6)}",
            "sessionId": session,
            "isSidechain": sidechain,
            "timestamp": f"{begin + dt.timedelta(milliseconds=streamed):%Y-%m-%dT%H:%M:%S.%f}Z",
            "message": {
                "id": message,
                "model": chance.choice(["claude-sonnet-4-5", "claude-haiku-4-5"]),
                "usage": body,
            },
        }
        if request_id:
            entry["requestId"] = request_id
        if chance.random() < 0.05:
            del entry["timestamp"]
        lines.append(json.dumps(entry))
    return lines


NOISE = (
    '{"type": "user", "sessionId": "s1", "message": {"content": "usage"}}',
    '{"type": "assistant", "sessionId": "s1", "isApiErrorMessage": true, "message": {"id": "e", "content": []}}',
    '{"type": "assistant", "sessionId": "s1", "message": {"id": "msg_1", "usa',
    "// a comment",
    "",
)


def transcripts_of(seed: int) -> dict[str, list[str]]:
    """Transcripts of a few sessions, some of which are forks that repeat lines of another one."""
    chance = random.Random(seed)
    begin = DAY + dt.timedelta(hours=9)
    files: dict[str, list[str]] = {}
    for number in range(chance.randint(1, 4)):
        lines = ['{"type": "summary", "leafUuid": "l", "summary": "s"}']
        for _ in range(chance.randint(1, 6)):
            lines += lines_of(chance, ["s1", "s2", "s3"], begin)
        earlier = [line for texts in files.values() for line in texts]
        copied = chance.sample(earlier, min(len(earlier), chance.randrange(12)))
        lines += [line.replace('"s1"', '"s4"') if chance.random() < 0.3 else line for line in copied]
        lines += chance.sample(NOISE, 2)
        chance.shuffle(lines)
        files[f"{number}.jsonl"] = lines
    return files


COST_COLUMNS = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type"


def cost_csv(*rows: tuple[str, str, str]) -> str:
    """A cost export: date, key and amount of each row."""
    lines = [f"{day},Claude Haiku 4.5,Default,{key},message,≤ 200k,output,{usd},token" for day, key, usd in rows]
    return "\n".join([COST_COLUMNS, *lines])
