"""The counting rules of the input formats, stated a second time in plain Python, to test the SQL against.

Belongs here: which of overlapping console exports and bills is in force and how much of it counts, the calls in a set
of Claude Code transcripts, and the cost of one call. Does not belong here: reading files, and any code of the product.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

# Counts of a console row, in this order: input without cache, write 5m, write 1h, read, output, web searches.
Counts = tuple[int, int, int, int, int, int]
WRITE_5M, WRITE_1H, SEARCHES = 1, 2, 5
# The columns that only later generations of an export state.
LATER_COLUMNS = ("context_window", "inference_geo", "speed")


@dataclass(frozen=True)
class ConsoleRow:
    """One row of a usage export. `key` holds the dimensions that the export states, and only those."""

    start: dt.datetime
    seconds: int
    key: tuple[tuple[str, str], ...]
    counts: Counts
    tells_write_kinds: bool = True

    @property
    def end(self) -> dt.datetime:
        return self.start + dt.timedelta(seconds=self.seconds)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.key)

    def on(self, columns: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """The part of the key in `columns`."""
        return tuple(pair for pair in self.key if pair[0] in columns)


@dataclass(frozen=True)
class ConsoleExport:
    """One export: its rows and the sha256 of its bytes."""

    sha256: str
    rows: tuple[ConsoleRow, ...]


@dataclass(frozen=True)
class InForce:
    """The part of one row of one export that counts."""

    row: ConsoleRow
    counts: Counts
    has_finer: bool = False
    is_stale: bool = False


def _sum(all_counts: Iterable[Counts]) -> Counts:
    columns = zip(*all_counts, strict=True)
    total = tuple(sum(column) for column in columns)
    assert len(total) == 6
    return total  # type: ignore[return-value]


def summed(export: ConsoleExport) -> list[ConsoleRow]:
    """Sum inside one export first: one row for each interval and key."""
    parts: dict[tuple[Any, ...], list[ConsoleRow]] = defaultdict(list)
    for row in export.rows:
        parts[row.start, row.seconds, row.key].append(row)
    return [replace(rows[0], counts=_sum(row.counts for row in rows)) for rows in parts.values()]


def winners(exports: Iterable[ConsoleExport]) -> list[ConsoleRow]:
    """For each interval and key the export in force.

    The export with the later last interval wins; on a tie the greater total, then an export that separates the two
    kinds of cache writes, then the greater sha256.
    """
    best: dict[tuple[Any, ...], tuple[tuple[Any, ...], ConsoleRow]] = {}
    for export in exports:
        reach = max((row.end for row in export.rows), default=dt.datetime.min)
        for row in summed(export):
            rank = (reach, sum(row.counts[:SEARCHES]), row.tells_write_kinds, export.sha256)
            found = best.get((row.start, row.seconds, row.key))
            if found is None or rank > found[0]:
                best[row.start, row.seconds, row.key] = (rank, row)
    return [row for _, row in best.values()]


def console_usage(exports: Iterable[ConsoleExport]) -> list[InForce]:
    """How much of each row counts, so that each token of overlapping exports counts once.

    Finer rows count fully. Coarser rows (in time, then in the columns stated) keep the difference to the finer rows
    inside them, kind by kind, compared on the columns that both state. If any kind is negative, the whole rest is zero.
    """
    levels: dict[tuple[int, int, tuple[str, ...]], list[ConsoleRow]] = defaultdict(list)
    for row in winners(exports):
        levels[row.seconds, -len(row.columns), tuple(sorted(row.columns))].append(row)
    kept: list[InForce] = []
    for _, rows in sorted(levels.items()):
        kept += _beyond([InForce(row, row.counts) for row in rows], kept)
    return kept


def _beyond(level: list[InForce], finer: Sequence[InForce]) -> list[InForce]:
    """`level` minus the finer rows inside it; rows with most of its columns are subtracted first."""
    columns = level[0].row.columns
    lacking: dict[frozenset[str], list[InForce]] = defaultdict(list)
    for found in finer:
        lacking[columns - found.row.columns].append(found)
    for absent in sorted(lacking, key=lambda names: (len(names), sorted(names))):
        common = columns - absent
        groups: dict[tuple[Any, ...], list[InForce]] = defaultdict(list)
        for coarse in level:
            groups[coarse.row.start, coarse.row.on(common)].append(coarse)
        level = []
        for (start, key), group in groups.items():
            inside = [
                found
                for found in lacking[absent]
                if found.row.on(common) == key and start <= found.row.start < group[0].row.end
            ]
            level += _less(group, inside) if inside else group
    return level


def _less(group: list[InForce], inside: Sequence[InForce]) -> list[InForce]:
    """A group of coarser rows minus the finer rows `inside`; they differ only in columns that these lack."""
    have, taken = _sum(found.counts for found in group), list(_sum(found.counts for found in inside))
    if not all(found.row.tells_write_kinds for found in [*group, *inside]):
        # One side has cache writes as a single number, counted as 5m: compare that number.
        writes = taken[WRITE_5M] + taken[WRITE_1H]
        taken[WRITE_5M] = min(writes, have[WRITE_5M])
        taken[WRITE_1H] = writes - taken[WRITE_5M]
    if any(off > has for off, has in zip(taken, have, strict=True)):
        return [replace(found, counts=(0,) * 6, has_finer=True, is_stale=True) for found in group]
    result = []
    for found in sorted(group, key=lambda found: [dict(found.row.key).get(name, "") for name in LATER_COLUMNS]):
        off = [min(has, left) for has, left in zip(found.counts, taken, strict=True)]
        taken = [left - less for left, less in zip(taken, off, strict=True)]
        counts: Any = tuple(has - less for has, less in zip(found.counts, off, strict=True))
        result.append(replace(found, counts=counts, has_finer=True))
    return result


# Dimension of a bill -> value; and an amount.
Charge = tuple[Mapping[str, str], Decimal]


def billed(exports: Iterable[tuple[frozenset[str], Sequence[Charge]]]) -> Decimal:
    """The cost of one day, from bills in different groupings: each a set of dimensions, and amounts by these.

    The bill with most dimensions counts fully, one by `kind` before others. Each further bill adds its difference to
    all bills before it, compared on the dimensions that both state. (Here no two bills have the same grouping, and
    nothing is rounded.)
    """
    kept: list[tuple[frozenset[str], list[Charge]]] = []
    in_order = sorted(exports, key=lambda each: (-len(each[0]), "kind" not in each[0], sorted(each[0])))
    for stated, charges in in_order:
        left = [(dict(key), amount) for key, amount in charges]
        for absent in sorted({stated - other for other, _ in kept}, key=lambda names: (len(names), sorted(names))):
            finer = [charge for other, found in kept if stated - other == absent for charge in found]
            left = _beyond_bill(left, finer, sorted(stated - absent))
        kept.append((stated, left))
    return sum((amount for _, found in kept for _, amount in found), Decimal(0))


def _beyond_bill(charges: Sequence[Charge], finer: Sequence[Charge], common: Sequence[str]) -> list[Charge]:
    """The amounts minus the finer ones, summed by the dimensions that both state."""
    groups: dict[tuple[str, ...], list[Charge]] = defaultdict(list)
    for charge in charges:
        groups[tuple(charge[0][name] for name in common)].append(charge)
    result: list[Charge] = []
    for key, group in groups.items():
        inside = [amount for found, amount in finer if tuple(found[name] for name in common) == key]
        if not inside:
            result += group
            continue
        rest = sum((amount for _, amount in group), Decimal(0)) - sum(inside, Decimal(0))
        so_far = -sum(inside, Decimal(0))
        for found, amount in group:
            before, so_far = max(so_far, Decimal(0)), so_far + amount
            result.append((found, max(so_far, Decimal(0)) - before if rest > 0 else Decimal(0)))
    return result


@dataclass(frozen=True)
class FileCounts:
    """The ledger of one transcript: read = loaded + rejected + ignored + repeated."""

    read: int
    loaded: int
    rejected: int
    ignored: int
    repeated: int


@dataclass(frozen=True)
class Request:
    """One response that was paid for. `counts` as in a console row."""

    session_id: str
    requested_at: dt.datetime
    model_version: str
    usage_type: str
    inference_geo: str
    speed: str
    is_sidechain: bool
    counts: Counts


@dataclass(frozen=True)
class _Line:
    """A line that reports usage, or a call inside one: its message id then ends in the call's place.

    Responses with the same message id also share the ids of the calls inside; `around`, their input, separates them.
    """

    message_id: str
    model: str
    usage: Mapping[str, Any]
    entry: Mapping[str, Any]
    around: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        return ":".join(part for part in (self.message_id, self.entry.get("requestId")) if part)

    @property
    def seen(self) -> dt.datetime:
        return dt.datetime.fromisoformat(self.entry["timestamp"]).astimezone(dt.UTC).replace(tzinfo=None)

    def first(self, name: str) -> str:
        return str(self.usage.get(name) or "").replace("not_available", "")

    @property
    def counts(self) -> Counts:
        usage = self.usage
        split = usage.get("cache_creation") or {}
        write_1h = split.get("ephemeral_1h_input_tokens", 0)
        written = usage.get("cache_creation_input_tokens", 0)
        write_5m = max(written - write_1h, split.get("ephemeral_5m_input_tokens", 0))
        searches = (usage.get("server_tool_use") or {}).get("web_search_requests", 0)
        read = usage.get("cache_read_input_tokens", 0)
        return (usage["input_tokens"], write_5m, write_1h, read, usage["output_tokens"], searches)

    @property
    def input(self) -> tuple[int, int, int]:
        no_cache, write_5m, write_1h, read, *_ = self.counts
        return no_cache, write_5m + write_1h, read

    @property
    def lane(self) -> str:
        """The caller: under a gateway's id, which all responses share, no two lanes share a response."""
        if self.is_providers:
            return ""
        return str(self.entry.get("agentId") or ("sidechain" if self.entry.get("isSidechain") else ""))

    @property
    def is_providers(self) -> bool:
        return self.message_id.startswith("msg_") and len(self.message_id.split("#")[0]) >= 24

    @property
    def turn(self) -> tuple[Any, ...]:
        return self.message_id, self.around, self.input, self.lane

    @property
    def precedence(self) -> tuple[int, dt.datetime, str]:
        return self.usage["output_tokens"], self.seen, self.entry["uuid"]


# The greatest distance of two lines of one response.
PAUSE = dt.timedelta(minutes=10)


@dataclass(frozen=True)
class _FileResponse:
    """One response as one file reports it."""

    lines: tuple[_Line, ...]

    @property
    def key(self) -> str:
        return self.lines[0].key

    @property
    def is_named(self) -> bool:
        return bool(self.lines[0].entry.get("requestId"))

    @property
    def kept(self) -> _Line:
        return max(self.lines, key=lambda line: line.precedence)

    @property
    def began(self) -> dt.datetime:
        return min(line.seen for line in self.lines)

    @property
    def is_sidechain(self) -> bool:
        return all(line.entry.get("isSidechain", False) for line in self.lines)

    @property
    def message(self) -> tuple[Any, ...]:
        return self.lines[0].message_id, self.kept.input

    @property
    def name(self) -> tuple[Any, ...]:
        """Of a response that has a request's id; where a gateway gives both ids to all, their inputs differ."""
        return self.key, self.kept.input


def transcripts(files: Mapping[str, Sequence[str]]) -> tuple[list[Request], dict[str, FileCounts]]:
    """The calls in the transcripts `files` (lines by name), and the ledger of each file."""
    responses: list[_FileResponse] = []
    ledger: dict[str, FileCounts] = {}
    for name, texts in files.items():
        found, rejected, ignored = _usage_lines([text for text in texts if text.strip()])
        mine = _file_responses(found)
        ledger[name] = FileCounts(len(found) + rejected + ignored, len(mine), rejected, ignored, len(found) - len(mine))
        responses += mine
    named = [each for each in responses if each.is_named]
    keys: list[tuple[_FileResponse, Any, Any]] = [(each, each.lines[0].message_id, each.name) for each in named]
    for turn in _turns([each for each in responses if not each.is_named]):
        # A line with the same message and input and a request id is the same call; of several, the nearest.
        alike = [each for each in named if each.message == turn[0].message]
        near = min(((abs(each.began - part.began), each.name) for each in alike for part in turn), default=None)
        name = turn[0].kept.turn
        first = f"{name}@{min(each.began for each in turn)}"
        # Under a gateway's id, the call of a sidechain is separate.
        response = turn[0].lines[0].message_id if near else name
        keys += [(each, response, near[1] if near else first) for each in turn]

    # A sidechain line with the id and input of a main line repeats that call: of the same key, else the first.
    # Under a gateway's id, which all calls share, another request is another call.
    main: dict[Any, tuple[dt.datetime, str]] = {}
    for each, response, key in keys:
        if not each.is_sidechain:
            place = response, each.kept.input
            main[place] = min((each.began, key), main.get(place, (each.began, key)))
    main_keys = {key for each, _, key in keys if not each.is_sidechain}
    calls: dict[str, list[_Line]] = defaultdict(list)
    for each, response, key in keys:
        is_own = key in main_keys or (each.is_named and not each.kept.is_providers)
        found_again = None if is_own else main.get((response, each.kept.input))
        calls[found_again[1] if found_again else key] += each.lines
    return [_request(parts) for parts in calls.values()], ledger


def _file_responses(lines: Iterable[_Line]) -> list[_FileResponse]:
    """The responses of one file: by message and request; without a request id, by session, input and time."""
    groups: dict[Any, list[_Line]] = defaultdict(list)
    for line in sorted(lines, key=lambda line: line.seen):
        if line.entry.get("requestId"):
            groups[line.key, line.input].append(line)
            continue
        run = 0
        place = line.entry["sessionId"], line.turn
        while (place, run) in groups and line.seen - groups[place, run][-1].seen > PAUSE:
            run += 1
        groups[place, run].append(line)
    return [_FileResponse(tuple(parts)) for parts in groups.values()]


def _turns(responses: Sequence[_FileResponse]) -> list[list[_FileResponse]]:
    """Responses without a request id, in turns: of the same message and input, and the same session, time or uuid."""

    def belongs(one: _FileResponse, other: _FileResponse) -> bool:
        if one.message != other.message or one.lines[0].around != other.lines[0].around:
            return False
        if (
            one.began == other.began
            or one.kept.seen == other.kept.seen
            or one.kept.entry["uuid"] == other.kept.entry["uuid"]
        ):
            return True
        early, late = sorted((one, other), key=lambda each: each.began)
        if one.kept.is_providers and one.kept.counts[4] == other.kept.counts[4]:
            return True
        same_lane = one.lines[0].entry["sessionId"] == other.lines[0].entry["sessionId"] and (
            one.kept.lane == other.kept.lane
        )
        return same_lane and late.began - early.kept.seen <= PAUSE

    turns: list[list[_FileResponse]] = []
    for each in responses:
        joined = [turn for turn in turns if any(belongs(each, part) for part in turn)]
        turns = [turn for turn in turns if turn not in joined]
        turns.append([each, *(part for turn in joined for part in turn)])
    return turns


def _usage_lines(texts: Iterable[str]) -> tuple[list[_Line], int, int]:
    """Lines that report usage, and the numbers of rejected lines and of lines without usage."""
    found: list[_Line] = []
    rejected = ignored = 0
    for text in texts:
        if text.startswith("//"):
            ignored += 1
            continue
        try:
            entry = json.loads(text)
        except ValueError:
            rejected += 1
            continue
        message = entry.get("message") or {}
        if entry.get("type") != "assistant" or not isinstance(message.get("usage"), dict):
            ignored += 1
        elif not entry.get("timestamp"):
            rejected += 1
        else:
            own = _Line(message["id"], message["model"], message["usage"], entry)
            found.append(own)
            inside = [each for each in message["usage"].get("iterations", ()) if each["type"] != "message"]
            around = {name: message["usage"].get(name) for name in ("service_tier", "inference_geo", "speed")}
            for place, call in enumerate(inside, 1):
                model = call.get("model", message["model"])
                usage = around | call | ({} if model == message["model"] else {"speed": None})
                found.append(_Line(f"{message['id']}#{place}", model, usage, entry, own.input))
    return found, rejected, ignored


def _request(lines: Sequence[_Line]) -> Request:
    """The line of one response, over all files, that counts."""
    kept = max(lines, key=lambda line: line.precedence)
    in_order = sorted(lines, key=lambda line: (line.seen, line.entry["sessionId"]))
    tier, geo, speed = (
        next((value for line in in_order if (value := line.first(name))), "")
        for name in ("service_tier", "inference_geo", "speed")
    )
    return Request(
        session_id=in_order[0].entry["sessionId"],
        requested_at=in_order[0].seen,
        model_version=kept.model,
        usage_type=tier,
        inference_geo=geo,
        speed=speed,
        is_sidechain=all(line.entry.get("isSidechain", False) for line in lines),
        counts=kept.counts,
    )


@dataclass(frozen=True)
class Session:
    """A session of an agent: its own calls, and how many calls of its parent's history it started with."""

    name: str
    calls: tuple[str, ...]
    parent: Session | None = None
    inherited: int = 0

    @property
    def history(self) -> tuple[tuple[Session, str], ...]:
        """Every call in the session's history, each with the session that made it."""
        before = self.parent.history[: self.inherited] if self.parent else ()
        return before + tuple((self, call) for call in self.calls)


def reported_calls(landed: Iterable[tuple[Session, Sequence[str]]]) -> dict[str, str]:
    """Each call that a landed file reports, once, and the session that made it.

    A file is a session and the calls in it, its own or copied. The calls of a session without a file also belong to it
    if a fork names it, so `landed` must not leave out two generations.
    """
    return {call: maker.name for session, held in landed for maker, call in session.history if call in held}


# ---------- one call and its cost

PARTS = ("input_audio", "input_image", "cache_read_audio", "cache_read_image", "output_audio", "output_image")


@dataclass(frozen=True)
class Call:
    """The usage of one call, in counts that do not overlap; each of `parts` is inside one of them."""

    no_cache: int
    write_5m: int
    write_1h: int
    read: int
    output: int
    searches: int
    parts: Mapping[str, int]

    @property
    def writes(self) -> int:
        return self.write_5m + self.write_1h

    @property
    def cached(self) -> int:
        return self.writes + self.read

    @property
    def input(self) -> int:
        return self.no_cache + self.cached

    @property
    def total(self) -> int:
        return self.input + self.output

    def kinds(self) -> dict[str, int]:
        """Tokens and searches by priced kind: text is everything except audio and images."""
        wholes = {"input_no_cache": self.no_cache, "cache_read": self.read, "output": self.output}
        for part, tokens in self.parts.items():
            whole = part.rpartition("_")[0]
            wholes["input_no_cache" if whole == "input" else whole] -= tokens
        writes = {"cache_write_5m": self.write_5m, "cache_write_1h": self.write_1h}
        return {**wholes, **writes, "web_search": self.searches, **self.parts}


def cost(call: Call, rates: Mapping[str, Decimal | None]) -> tuple[Decimal | None, int]:
    """USD of a call at rates per million of each kind, None if a rate is missing; and the tokens without a rate."""
    used = {kind: count for kind, count in call.kinds().items() if count}
    lacking = sum(count for kind, count in used.items() if rates[kind] is None)
    if lacking:
        return None, lacking
    return sum((count * (rates[kind] or Decimal(0)) for kind, count in used.items()), Decimal(0)) / 1_000_000, 0
