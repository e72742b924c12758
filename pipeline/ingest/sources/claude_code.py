"""Claude Code transcripts (~/.claude/projects/**/*.jsonl): one JSON object per line, usage on assistant lines.

Belongs here: which lines report usage, why a line is rejected, and the format's repeat rule within one file. Does not
belong here: the same response in several files, and sidechains (dbt_project/models/intermediate).

Most of a transcript is text that is never needed. msgspec decodes only the fields of `_Line` and skips all others, in a
quarter of DuckDB's time for the same lines. It is strict: a piece of a file with anything unusual is read again line by
line, and a line that msgspec refuses is parsed leniently.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import json
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import IO, TYPE_CHECKING, Annotated, Any

import msgspec
import pyarrow as pa

from pipeline.ingest.sources.contract import MAX_LINE_BYTES, Loaded, Probe, RejectedRow, refusing_damaged_gzip
from pipeline.limits import in_force
from pipeline.store.sqlfiles import literal, sql

if TYPE_CHECKING:
    import duckdb

FORMAT = "claude_code"
# Fields by line type that other tools with the same format do not write.
_LINE_TYPES = {
    "assistant": ("sessionId", "message"), "user": ("sessionId", "message"),
    "summary": ("leafUuid",), "file-history-snapshot": ("messageId", "snapshot"),
    "system": ("sessionId", "isSidechain"), "progress": ("sessionId", "isSidechain"),
    "attachment": ("sessionId", "isSidechain"), "queue-operation": ("sessionId", "operation"),
    "ai-title": ("sessionId",), "custom-title": ("sessionId",), "last-prompt": ("sessionId",),
    "permission-mode": ("sessionId",), "pr-link": ("sessionId",),
}  # fmt: skip
# Fields of other tools for counts or text: Qwen Code, CodeBuddy.
_OF_OTHERS = frozenset(("usageMetadata", "systemPayload", "providerData", "usage", "tokens", "tokenUsage", "role"))
# Markers of Claude Code on a line, and of the API on counts.
_MARKERS = frozenset(("isSidechain", "requestId"))
_COUNTS = frozenset(("input_tokens", "output_tokens"))
# Recognises a line that is longer than the head, or cut off.
_CUT_LINE = re.compile(rb'^\s*\{[^\n]*"(sessionId|parentUuid|isSidechain)"\s*:')
# A large file is read in pieces of this size.
_PIECE_BYTES = 1 << 24
# Rows are converted to columns in chunks: as Python objects they take ten times the memory.
_ROWS_AS_OBJECTS = 4096
# The same rules as tokens_or_null, tokens_problem and (_THIS_CENTURY) utc_of in macros.sql.
_MAX_PLAIN = 10**9 - 1  # below any possible limit
_WHOLE_NUMBER = re.compile(r"([0-9]{1,15})([.]0+)?")
_TOO_LARGE = re.compile(r"[0-9]{16,}([.]0+)?")
_NEGATIVE = re.compile(r"-[0-9]+([.]0+)?")
# Zero times of other systems (years 1 and 1970) are not times of usage.
_THIS_CENTURY = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}([ T]|$)")
_NEVER = datetime(1, 1, 1, tzinfo=UTC)
# The provider's ids are longer than the constant ids of gateways.
_OWN_ID_LENGTH = 24
# The longest pause within one response (also the timeout of the API's clients).
_PAUSE = timedelta(minutes=10)

_Count = Annotated[int, msgspec.Meta(ge=0, le=_MAX_PLAIN)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Writes(msgspec.Struct, frozen=True, gc=False):
    ephemeral_5m_input_tokens: _Count = 0
    ephemeral_1h_input_tokens: _Count = 0


class _Tools(msgspec.Struct, frozen=True, gc=False):
    web_search_requests: _Count = 0


class _Iteration(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    model: str | None = None
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cache_read_input_tokens: _Count = 0
    cache_creation_input_tokens: _Count = 0
    cache_creation: _Writes | None = None


class _Usage(msgspec.Struct, frozen=True, gc=False):
    # Fields in Claude Code's order, which decodes fastest.
    input_tokens: _Count = 0
    cache_creation_input_tokens: _Count = 0
    cache_read_input_tokens: _Count = 0
    cache_creation: _Writes | None = None
    output_tokens: _Count = 0
    service_tier: str | None = None
    inference_geo: str | None = None
    server_tool_use: _Tools | None = None
    iterations: list[_Iteration] | None = None
    speed: str | None = None


_NO_USAGE = _Usage()
# Iterations that the response's own counts include.
_OWN_ITERATIONS = frozenset(("", "message", "fallback_message"))


class _Message(msgspec.Struct, frozen=True, gc=False):
    model: str = ""
    id: str = ""
    usage: _Usage = _NO_USAGE


_NO_MESSAGE = _Message()


class _Line(msgspec.Struct, frozen=True, gc=False):
    isSidechain: bool = False  # noqa: N815 - the names are the format's
    cwd: str = ""
    sessionId: str = ""  # noqa: N815
    message: _Message = _NO_MESSAGE
    requestId: str | None = None  # noqa: N815
    type: str = ""
    uuid: str = ""
    timestamp: _Moment = _NEVER
    agentId: str | None = None  # noqa: N815

    @property
    def lane(self) -> str:
        """Which agent made a call that only has a gateway's id: '' for the main line, else the sidechain's agent."""
        if self.requestId or _is_providers(self.message.id) or not self.message.id:
            return ""
        return self.agentId or ("sidechain" if self.isSidechain else "")

    @property
    def input(self) -> str:
        """The input counts of the call, to distinguish it from others with the same message id."""
        return _input(self.message.usage)


class _LineInside(_Line, frozen=True, gc=False):
    """A call within a response: its input includes the response's, because advisers can get equal inputs."""

    around: str = ""

    @property
    def input(self) -> str:
        return f"{self.around}/{_input(self.message.usage)}"


_LINES = msgspec.json.Decoder(_Line)


class _Block(msgspec.Struct, frozen=True, gc=False):
    type: str = ""


class _UserMessage(msgspec.Struct, frozen=True, gc=False):
    content: list[_Block] | str = ""


class _UserLine(msgspec.Struct, frozen=True, gc=False):
    """A prompt, or the result of a tool, which can also be between the lines of one response."""

    type: str = ""
    isSidechain: bool = False  # noqa: N815
    isMeta: bool = False  # noqa: N815
    agentId: str | None = None  # noqa: N815
    sessionId: str = ""  # noqa: N815
    timestamp: _Moment = _NEVER
    message: _UserMessage = _UserMessage()
    toolUseResult: msgspec.Raw = msgspec.Raw()  # noqa: N815

    @property
    def is_prompt(self) -> bool:
        content = self.message.content
        return (
            self.type == "user"
            and not (self.isMeta or bytes(self.toolUseResult))
            and (isinstance(content, str) or all(block.type != "tool_result" for block in content))
        )


_USER_LINES = msgspec.json.Decoder(_UserLine)
# The input of store_transcripts.sql. Times are durations since 1970: 5 times faster in pyarrow than times with a zone.
_COLUMNS = {
    "request_key": pa.string(), "response_id": pa.string(), "message_id": pa.string(), "session_id": pa.string(),
    "is_sidechain": pa.bool_(),
    "requested_at": pa.duration("us"), "kept_at": pa.duration("us"), "kept_id": pa.string(),
    "model_version": pa.string(), "project": pa.string(), "usage_type": pa.string(), "inference_geo": pa.string(),
    "speed": pa.string(), "lane": pa.string(), "begins_anew": pa.bool_(),
    "input_tokens_no_cache": pa.int64(), "cache_creation": pa.int64(),
    "cache_write_5m": pa.int64(), "cache_write_1h": pa.int64(), "input_tokens_cache_read": pa.int64(),
    "output_tokens": pa.int64(), "web_search_count": pa.int64(), "file": pa.int32(),
}  # fmt: skip
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def recognise(probe: Probe) -> str | None:
    """Decided by the first line of the head that is a transcript's, or that of another tool with this format."""
    for line in io.BytesIO(probe.head.removeprefix(codecs.BOM_UTF8)):
        if not line.lstrip().startswith(b"{"):
            continue
        try:
            entry = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if _CUT_LINE.match(line) and b'"type"' in line:
                return ""
            continue
        if isinstance(entry, dict) and "sessionId" in entry and _is_of_another_tool(entry):
            return None
        if isinstance(entry, dict) and set(_LINE_TYPES.get(str(entry.get("type")), ("?",))) <= entry.keys():
            if entry["type"] in ("user", "assistant") and not _is_own_turn(entry):
                continue
            return ""
    return None


def _is_own_turn(entry: dict[str, Any]) -> bool:
    """Whether a message has what only Claude Code writes: its markers on the line, or the API's counts in it."""
    usage = _object(_object(entry.get("message")).get("usage"))
    return not _MARKERS.isdisjoint(entry) or not _COUNTS.isdisjoint(usage)


def _is_of_another_tool(entry: dict[str, Any]) -> bool:
    message = _object(entry.get("message"))
    return not _OF_OTHERS.isdisjoint(entry) or "parts" in message or message.get("role") == "model"


def load(connection: duckdb.DuckDBPyConnection, probe: Probe, sha256: str) -> Loaded:
    """Insert into raw.requests, one row per response in the file."""
    with refusing_damaged_gzip(), probe.open() as handle:
        transcript = _transcript(_pieces(handle))
    rows = Rows()
    rows.add(sha256, transcript)
    store(connection, rows.table())
    return transcript.loaded


def parse(content: bytes | memoryview) -> Transcript:
    """Parse a whole file."""
    return _transcript([_Piece(content)])


@dataclass(frozen=True)
class Transcript:
    """The usage of a file: for each response's key, the line that counts."""

    loaded: Loaded
    requests: Mapping[str, _Line]
    # Time of the response's first line, if it differs from that of the line that counts.
    first_seen: Mapping[str, datetime]
    # Keys of responses that follow another one with the same id and input.
    anew: Set[str] = frozenset()


@dataclass
class _Reports:
    """The lines that report usage, each with its response's key; `lines` counts all lines read.

    With ids of gateways, also the times of prompts by session and lane, and the responses that repeat an input.
    """

    lines: int = 0
    keys: list[str] = field(default_factory=list)
    reporting: list[_Line] = field(default_factory=list)
    prompts: dict[tuple[str, str], list[datetime]] = field(default_factory=dict)
    anew: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Piece:
    """Whole lines of a file, with the number and byte offset of the first line."""

    content: bytes | memoryview
    number: int = 1
    offset: int = 0

    def reports(self, rejected: list[RejectedRow]) -> _Reports:
        """The usage of the lines; unusable lines are added to `rejected`."""
        reports = self._reports(rejected)
        if any(_is_unnamed(line) and not _is_providers(line.message.id) for line in reports.reporting):
            reports.prompts = _prompts(bytes(self.content))
        return reports

    def _reports(self, rejected: list[RejectedRow]) -> _Reports:
        bom = (
            len(codecs.BOM_UTF8) if self.offset == 0 and self.content[: len(codecs.BOM_UTF8)] == codecs.BOM_UTF8 else 0
        )
        plain = _decoded(self.content[bom:])
        if plain:
            return plain
        reports, offset = _Reports(), self.offset
        for number, content in enumerate(bytes(self.content).split(b"\n"), self.number):
            line = content[0 if offset else bom :].rstrip(b"\r")
            if line.strip():
                report = _decoded(line) or _parsed_leniently(line)
                if isinstance(report, str):
                    reports.lines += 1
                    text = line.decode("utf-8", "backslashreplace")
                    rejected.append(RejectedRow(number, offset, report, text=text))
                else:
                    reports.lines += report.lines
                    reports.keys += report.keys
                    reports.reporting += report.reporting
            offset += len(content) + 1
        return reports


def _pieces(handle: IO[bytes]) -> Iterator[_Piece]:
    """A file in pieces of whole lines; the end of a line that is too long is skipped."""
    number, offset = 1, 0
    while content := handle.read(_PIECE_BYTES):
        content += handle.readline(MAX_LINE_BYTES + 1)
        yield _Piece(content, number, offset)
        number += content.count(b"\n")
        offset += len(content)
        while content[-1:] != b"\n" and (content := handle.readline(_PIECE_BYTES)):
            offset += len(content)
            number += content[-1:] == b"\n"


def _prompts(content: bytes) -> dict[tuple[str, str], list[datetime]]:
    """The times of prompts, by session and lane."""
    prompts: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
    for line in content.split(b"\n"):
        if b'"user"' not in line:
            continue
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            entry = _USER_LINES.decode(line)
            if entry.is_prompt:
                lane = entry.agentId or ("sidechain" if entry.isSidechain else "")
                prompts[entry.sessionId, lane].append(entry.timestamp)
    return prompts


def _decoded(content: bytes | memoryview) -> _Reports | None:
    """The usage of whole lines; None if anything in them is unusual."""
    try:
        entries = _LINES.decode_lines(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    reporting = [line for line in entries if line.type == "assistant" and line.message.usage is not _NO_USAGE]
    moments = [line.timestamp for line in reporting]
    limits = in_force()
    if moments and (min(moments) < limits.first or max(moments) >= limits.end):
        return None
    inside = _calls_inside(reporting)
    reporting += inside
    keys = _request_keys(reporting)
    return _Reports(len(entries) + len(inside), keys, reporting) if all(keys) else None


def _calls_inside(lines: Sequence[_Line]) -> list[_Line]:
    """The calls that the provider made within responses, each as a line of its own.

    A response's counts include only its iterations of type `message`, not those of an adviser or a compaction. If
    another model served the response (`fallback_message`), the counts are that model's, and each `message` is a
    declined attempt, which is billed if it has output.
    """
    calls_inside = []
    for line in lines:
        usage = line.message.usage
        iterations = usage.iterations
        if not iterations:
            continue
        # frees memory: nothing else needs the iterations
        msgspec.structs.force_setattr(usage, "iterations", None)
        served = [each.model for each in iterations if each.type == "fallback_message"]
        if served:
            msgspec.structs.force_setattr(line.message, "model", served[-1] or line.message.model)
        calls = [
            each
            for each in iterations
            if each.type not in _OWN_ITERATIONS or (served and each.type == "message" and each.output_tokens)
        ]
        calls_inside += [_inside(line, call, f"#{place}") for place, call in enumerate(calls, 1)]
    return calls_inside


def _inside(line: _Line, call: _Iteration, place: str) -> _Line:
    """A call within a response, as a line: its own model and counts, everything else from the response."""
    message = line.message
    model = call.model or message.model
    return _LineInside(
        isSidechain=line.isSidechain,
        cwd=line.cwd,
        sessionId=line.sessionId,
        requestId=line.requestId,
        type=line.type,
        timestamp=line.timestamp,
        agentId=line.agentId,
        uuid=line.uuid and line.uuid + place,
        message=_Message(
            model=model,
            id=message.id and message.id + place,
            usage=_Usage(
                input_tokens=call.input_tokens,
                cache_creation_input_tokens=call.cache_creation_input_tokens,
                cache_read_input_tokens=call.cache_read_input_tokens,
                cache_creation=call.cache_creation,
                output_tokens=call.output_tokens,
                service_tier=message.usage.service_tier,
                inference_geo=message.usage.inference_geo,
                # fast mode is requested for one model only
                speed=message.usage.speed if model == message.model else None,
            ),
        ),
        around=line.input,
    )


def _request_keys(lines: Iterable[_Line]) -> list[str]:
    """Keys of responses: the message's id with the request's id, else the line's uuid; '' if there is neither.

    A message id without a request id is not unique (see `_by_turn`).
    """
    return [
        f"{message_id}:{line.requestId}"
        if (message_id := line.message.id) and line.requestId
        else message_id or line.uuid
        for line in lines
    ]


def _parsed_leniently(line: bytes) -> _Reports | str:
    """The usage of an unusual line, or why it is rejected."""
    if len(line) > MAX_LINE_BYTES:
        return f"line longer than {MAX_LINE_BYTES >> 20} MiB"
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "not valid UTF-8"
    if text.lstrip().startswith("//"):
        return _Reports(1)
    try:
        # numbers stay text; half surrogate pairs, which JavaScript leaves when it cuts text, are accepted
        entry = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError:
        return "nested too deeply"
    except ValueError:
        return "not valid JSON"
    if not isinstance(entry, dict) or entry.get("type") != "assistant":
        return _Reports(1)
    message = _object(entry.get("message"))
    if not isinstance(message.get("usage"), dict):
        return _Reports(1)
    usage = message["usage"]
    counts = _counts(usage)
    if isinstance(counts, str):
        return counts
    searches = _counted(_object(usage.get("server_tool_use")), "web_search_requests")
    if isinstance(searches, str):
        return searches
    iterations = []
    for each in listed if isinstance(listed := usage.get("iterations"), list) else []:
        call = _iteration(_object(each))
        if isinstance(call, str):
            return "iterations: " + call
        iterations.append(call)
    fresh, created, for_5m, for_1h, read, output = counts
    stamp, limits = _text(entry.get("timestamp")), in_force()
    moment = _moment(stamp)
    if moment is None or not limits.first <= moment < limits.end:
        problem = limits.time_problem if moment else "timestamp is not a time" if stamp else "no timestamp"
        return f"{problem} ({fresh + max(created, for_5m + for_1h) + read + output} tokens)"
    plain = _Line(
        isSidechain=_text(entry.get("isSidechain")) == "true",
        cwd=_name(entry.get("cwd")),
        sessionId=_name(entry.get("sessionId")),
        message=_Message(
            model=_name(message.get("model")),
            id=_name(message.get("id")),
            usage=_Usage(
                input_tokens=fresh,
                cache_creation_input_tokens=created,
                cache_read_input_tokens=read,
                cache_creation=_Writes(for_5m, for_1h),
                output_tokens=output,
                service_tier=_name(usage.get("service_tier")),
                inference_geo=_name(usage.get("inference_geo")),
                server_tool_use=_Tools(searches),
                iterations=iterations,
                speed=_name(usage.get("speed")),
            ),
        ),
        requestId=_name(entry.get("requestId")),
        type="assistant",
        uuid=_name(entry.get("uuid")),
        timestamp=moment,
        agentId=_name(entry.get("agentId")),
    )
    lines = [plain, *_calls_inside([plain])]
    keys = _request_keys(lines)
    return "neither message.id nor uuid" if "" in keys else _Reports(len(lines), keys, lines)


def _counts(usage: Mapping[str, Any]) -> list[int] | str:
    """Input, cache writes (all, 5 minutes, 1 hour), cache reads and output; or what is wrong with one of them."""
    writes = _object(usage.get("cache_creation"))
    counts = []
    for record, name in (
        (usage, "input_tokens"),
        (usage, "cache_creation_input_tokens"),
        (writes, "ephemeral_5m_input_tokens"),
        (writes, "ephemeral_1h_input_tokens"),
        (usage, "cache_read_input_tokens"),
        (usage, "output_tokens"),
    ):
        count = _counted(record, name)
        if isinstance(count, str):
            return count
        counts.append(count)
    return counts


def _iteration(record: Mapping[str, Any]) -> _Iteration | str:
    counts = _counts(record)
    if isinstance(counts, str):
        return counts
    fresh, created, for_5m, for_1h, read, output = counts
    return _Iteration(
        type=_name(record.get("type")),
        model=_name(record.get("model")),
        input_tokens=fresh,
        output_tokens=output,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=created,
        cache_creation=_Writes(for_5m, for_1h),
    )


def _counted(record: Mapping[str, Any], name: str) -> int | str:
    value = record.get(name)
    count = 0 if value is None else _count(_text(value))
    return f"{name} {count}" if isinstance(count, str) else count


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """A JSON value as text, '' for null."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _name(value: Any) -> str:
    """A name; objects and lists are dropped, because they could contain text of a user."""
    return "" if isinstance(value, dict | list) else _text(value)


def _count(text: str) -> int | str:
    """A count of tokens, or what is wrong with it."""
    if (number := _WHOLE_NUMBER.fullmatch(text)) and int(number[1]) <= in_force().tokens:
        return int(number[1])
    if not text:
        return "is empty, expected a whole number"
    if _NEGATIVE.fullmatch(text):
        return "is negative, expected a count"
    return "is greater than any count of tokens" if number or _TOO_LARGE.fullmatch(text) else "is not a whole number"


def _moment(text: str) -> datetime | None:
    """A time in UTC (also if no zone is stated); None if it is not a time of usage."""
    if not _THIS_CENTURY.match(text):
        return None
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _transcript(pieces: Iterable[_Piece]) -> Transcript:
    """Parse a file in pieces; one line per response remains."""
    read = usage = 0
    rejected: list[RejectedRow] = []
    requests: dict[str, _Line] = {}
    first_seen: dict[str, datetime] = {}
    differing: defaultdict[str, list[_Line]] = defaultdict(list)
    anew: set[str] = set()
    for reports in _responses(pieces, rejected):
        read += reports.lines
        usage += len(reports.reporting)
        anew |= reports.anew
        for key, line in zip(reports.keys, reports.reporting, strict=True):
            known = requests.setdefault(key, line)
            if known is line:
                continue
            counts, others = line.message.usage, known.message.usage
            if (
                counts.input_tokens != others.input_tokens
                or counts.cache_read_input_tokens != others.cache_read_input_tokens
                or counts.cache_creation_input_tokens != others.cache_creation_input_tokens
            ) and _NO_INPUT not in (line.input, known.input):
                # different inputs are different responses: some gateways repeat both ids
                key += f"\0{line.input}"
                known = requests.setdefault(key, line)
                if known is line:
                    continue
                others = known.message.usage
            if (
                line.sessionId != known.sessionId
                or line.cwd != known.cwd
                or line.isSidechain != known.isSidechain
                or counts.service_tier != others.service_tier
                or counts.inference_geo != others.inference_geo
                or counts.speed != others.speed
            ):
                differing[key].append(line)
                continue
            if line.timestamp < first_seen.setdefault(key, known.timestamp):
                first_seen[key] = line.timestamp
            more_output = counts.output_tokens - others.output_tokens
            if more_output > 0 or (more_output == 0 and _precedence(line) > _precedence(known)):
                requests[key] = line
    for key, lines in differing.items():
        # two lines represent all equal ones: the first and the one that counts
        known = requests[key]
        first = first_seen.get(key, known.timestamp)
        requests[key] = _counting_line([msgspec.structs.replace(known, timestamp=first), known, *lines])
        first_seen[key] = min([first, *(line.timestamp for line in lines)])
    loaded = Loaded(
        "request",
        read,
        len(requests),
        rows_ignored=read - usage - len(rejected),
        rows_repeated=usage - len(requests),
        rejected=tuple(rejected),
    )
    return Transcript(loaded, requests, first_seen, anew)


def _responses(pieces: Iterable[_Piece], rejected: list[RejectedRow]) -> Iterator[_Reports]:
    """The usage of each piece, then of lines without a request id, whose keys depend on all of them."""
    words: dict[str, str] = {}
    unnamed: list[_Line] = []
    prompts: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
    for piece in pieces:
        reports = piece.reports(rejected)
        for place, moments in reports.prompts.items():
            prompts[place] += moments
        if len(piece.content) >= _PIECE_BYTES:
            _share_words(reports.reporting, words)
        if not all(line.requestId for line in reports.reporting):
            unnamed += [line for line in reports.reporting if _is_unnamed(line)]
            named = [i for i, line in enumerate(reports.reporting) if not _is_unnamed(line)]
            reports.keys = [reports.keys[i] for i in named]
            reports.reporting = [reports.reporting[i] for i in named]
        yield reports
    if unnamed:
        yield _by_turn(unnamed, prompts)


def _is_unnamed(line: _Line) -> bool:
    """Whether the response has only a message id, which may be the constant id of a gateway."""
    return not line.requestId and line.message.id != ""


def _is_providers(message_id: str) -> bool:
    """Whether an id has the form of Anthropic's ids, which are unique per response."""
    return message_id.startswith("msg_") and len(message_id.partition("#")[0]) >= _OWN_ID_LENGTH


def _by_turn(lines: Iterable[_Line], prompts: Mapping[tuple[str, str], Sequence[datetime]]) -> _Reports:
    """Lines without a request id; their keys are message id, input and time of the response's first line."""
    places: defaultdict[tuple[str, str, str], list[_Line]] = defaultdict(list)
    for line in lines:
        places[line.sessionId, line.message.id, line.lane].append(line)
    reports = _Reports()
    for (session, message_id, lane), group in places.items():
        in_time = sorted(group, key=lambda line: (line.timestamp, _output(line)))
        prompt_times = None if _is_providers(message_id) else sorted(prompts.get((session, lane), ()))
        for turn, is_anew in _turns(in_time, prompt_times):
            first = min(line.timestamp for line in turn).astimezone(UTC)
            key = f"{turn[0].message.id}@{first:%Y-%m-%dT%H:%M:%S.%f}:{turn[0].input}{lane and '@' + lane}"
            reports.keys += [key] * len(turn)
            reports.reporting += turn
            if is_anew:
                reports.anew.add(key)
    return reports


def _turns(lines: Iterable[_Line], prompt_times: Sequence[datetime] | None) -> list[tuple[list[_Line], bool]]:
    """The responses of one session and message id, from lines in time order, and whether each repeats an input.

    A streamed response repeats its input and increases its output, without a long pause; the next turn of a session has
    another input. Lines without input counts belong to the response that follows; if there is none, decreasing output
    starts another response. With a gateway's id, decreasing output with equal input also starts one, and so does a
    prompt in between (`prompt_times`; None for the provider's ids). The result of a tool is no prompt, because tools
    that run while the response is streamed write between its lines.
    """
    turns: list[list[_Line]] = []
    anew: set[int] = set()
    latest: dict[str, list[_Line]] = {}
    early: list[_Line] = []
    for line in lines:
        before = latest[line.input][-1] if line.input in latest else line
        if line.input == _NO_INPUT:
            early.append(line)
        elif (
            before is not line
            and line.timestamp - before.timestamp <= _PAUSE
            and not _is_anew(before, line, prompt_times)
        ):
            latest[line.input].append(line)
        else:
            if before is not line and line.timestamp - before.timestamp <= _PAUSE:
                anew.add(id(line))
            latest[line.input] = [line]
            turns.append(latest[line.input])
    by_end = sorted(turns, key=lambda turn: turn[-1].timestamp)
    ends = [turn[-1].timestamp for turn in by_end]
    outputs = [max(map(_output, turn)) for turn in by_end]
    without_input: list[list[_Line]] = []
    for line in early:
        next_turn = bisect_left(ends, line.timestamp)
        if (
            next_turn < len(ends)
            and by_end[next_turn][0].timestamp - line.timestamp <= _PAUSE
            and _output(line) <= outputs[next_turn]
        ):
            by_end[next_turn].append(line)
            continue
        before = without_input[-1][-1] if without_input else line
        if before is line or line.timestamp - before.timestamp > _PAUSE or _output(line) < _output(before):
            without_input.append([])
        without_input[-1].append(line)
    return [(turn, id(turn[0]) in anew) for turn in turns] + [(turn, False) for turn in without_input]


def _is_anew(before: _Line, line: _Line, prompt_times: Sequence[datetime] | None) -> bool:
    """Whether a line after another one with equal input is another response; only with a gateway's id."""
    if prompt_times is None:
        return False
    return _output(line) < _output(before) or bisect_right(prompt_times, before.timestamp) < bisect_right(
        prompt_times, line.timestamp
    )


def _output(line: _Line) -> int:
    return line.message.usage.output_tokens


def _input(usage: _Usage) -> str:
    """The input counts of a call as text: no cache, cache writes, cache reads."""
    writes = usage.cache_creation
    split = writes.ephemeral_5m_input_tokens + writes.ephemeral_1h_input_tokens if writes else 0
    written = max(usage.cache_creation_input_tokens, split)
    return f"{usage.input_tokens}.{written}.{usage.cache_read_input_tokens}"


_NO_INPUT = _input(_NO_USAGE)


def _share_words(lines: Iterable[_Line], words: dict[str, str]) -> None:
    """Share equal texts between lines: a third less memory for a large file."""
    for line in lines:
        for record, names in (
            (line, ("cwd", "sessionId", "type")),
            (line.message, ("model",)),
            (line.message.usage, ("service_tier", "inference_geo", "speed")),
        ):
            for name in names:
                word = getattr(record, name)
                if word is not None:
                    msgspec.structs.force_setattr(record, name, words.setdefault(word, word))


def _precedence(line: _Line) -> tuple[int, datetime, str]:
    return line.message.usage.output_tokens, line.timestamp, line.uuid


def _counting_line(lines: Sequence[_Line]) -> _Line:
    """The repeat rule for the lines of one response: the line with the most output counts, then the latest, then the
    greatest uuid. Session and folder come from the first line; tier, geo and speed are the first non-empty ones; it is
    a sidechain only if all lines are.
    """
    kept = max(lines, key=_precedence)
    usages = [(line.timestamp, line.message.usage) for line in lines]
    usage = msgspec.structs.replace(
        kept.message.usage,
        service_tier=_first(((time, usage.service_tier or "") for time, usage in usages)),
        inference_geo=_first(((time, _geo(usage.inference_geo or "")) for time, usage in usages)),
        speed=_first(((time, usage.speed or "") for time, usage in usages)),
    )
    return msgspec.structs.replace(
        kept,
        sessionId=min((line.timestamp, line.sessionId) for line in lines)[1],
        cwd=min((line.timestamp, _project(line.cwd)) for line in lines)[1],
        isSidechain=all(line.isSidechain for line in lines),
        message=msgspec.structs.replace(kept.message, usage=usage),
    )


def _first(stated: Iterable[tuple[datetime, str]]) -> str:
    return min((each for each in stated if each[1]), default=(_NEVER, ""))[1]


@functools.lru_cache(1 << 10)
def _project(folder: str) -> str:
    """The last part of a folder's path, on any operating system."""
    return folder.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def _geo(stated: str) -> str:
    return "" if stated == "not_available" else stated


class Rows:
    """Rows of files for raw.requests; one statement for many files is 100 times cheaper than one per file."""

    def __init__(self) -> None:
        # rows that are not in columns yet: key, line, time of the response's first line, whether it repeats an
        # input, and the index of its file
        self._keys: list[str] = []
        self._anew: list[bool] = []
        self._lines: list[_Line] = []
        self._first_seen: list[datetime] = []
        self._places: list[int] = []
        self._files: list[str] = []
        self._tables: list[pa.Table] = []

    def add(self, sha256: str, parsed: Transcript) -> None:
        """Add the rows of a file."""
        keys, lines = list(parsed.requests), list(parsed.requests.values())
        for start in range(0, len(keys), _ROWS_AS_OBJECTS):
            some = slice(start, start + _ROWS_AS_OBJECTS)
            self._keys += keys[some]
            self._lines += lines[some]
            self._first_seen += map(parsed.first_seen.get, keys[some], [line.timestamp for line in lines[some]])
            self._anew += [key in parsed.anew for key in keys[some]]
            self._places += [len(self._files)] * len(keys[some])
            self._files.append(sha256)
            if len(self._keys) >= _ROWS_AS_OBJECTS:
                self._make_columns()

    def _make_columns(self) -> None:
        """Convert the rows to columns."""
        lines = self._lines
        messages = [line.message for line in lines]
        usages = [message.usage for message in messages]
        writes = [usage.cache_creation for usage in usages]
        tools = [usage.server_tool_use for usage in usages]
        values: dict[str, list[Any]] = {
            "request_key": [key.partition("\0")[0] for key in self._keys],
            "response_id": [
                message.id if line.requestId or not message.id else f"{message.id}~{line.input}"
                for line, message in zip(lines, messages, strict=True)
            ],
            "message_id": ["" if line.requestId else line.message.id for line in lines],
            "session_id": [line.sessionId for line in lines],
            "is_sidechain": [line.isSidechain for line in lines],
            "requested_at": [moment - _1970 for moment in self._first_seen],
            "kept_at": [line.timestamp - _1970 for line in lines],
            "kept_id": [line.uuid for line in lines],
            "model_version": [message.model for message in messages],
            "project": [_project(line.cwd) for line in lines],
            "usage_type": [usage.service_tier or "" for usage in usages],
            "inference_geo": [usage.inference_geo or "" for usage in usages],
            "speed": [usage.speed or "" for usage in usages],
            "lane": [line.lane for line in lines],
            "begins_anew": self._anew,
            "input_tokens_no_cache": [usage.input_tokens for usage in usages],
            "cache_creation": [usage.cache_creation_input_tokens for usage in usages],
            "cache_write_5m": [each.ephemeral_5m_input_tokens if each else 0 for each in writes],
            "cache_write_1h": [each.ephemeral_1h_input_tokens if each else 0 for each in writes],
            "input_tokens_cache_read": [usage.cache_read_input_tokens for usage in usages],
            "output_tokens": [usage.output_tokens for usage in usages],
            "web_search_count": [each.web_search_requests if each else 0 for each in tools],
            "file": self._places,
        }
        # pyarrow's default pool allocates pages of 2 MiB, which take longer to clear than these columns to fill
        pool = pa.system_memory_pool()
        columns = {name: pa.array(values[name], kind, memory_pool=pool) for name, kind in _COLUMNS.items()}
        for name in ("requested_at", "kept_at"):
            columns[name] = columns[name].view(pa.timestamp("us"))
        columns["file_sha256"] = pa.DictionaryArray.from_arrays(columns.pop("file"), pa.array(self._files, pa.string()))
        self._tables.append(pa.table(columns))
        self._keys, self._lines, self._first_seen = [], [], []
        self._anew, self._places, self._files = [], [], []

    def table(self) -> pa.Table:
        """All rows, file by file, in the columns for `store`."""
        if self._keys or not self._tables:
            self._make_columns()
        return pa.concat_tables(self._tables)


def store(connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> dict[str, tuple[date, date]]:
    """Insert rows of files into raw.requests, inside the caller's transaction.

    Returns:
        First and last day of usage by file (sha256), for files with usage within retention.

    """
    if not rows.num_rows:
        return {}
    connection.register("transcript_rows", rows)
    # imported here, because worker processes that parse transcripts do not need DuckDB
    from pipeline.ingest.sources.base import insert_rows

    insert_rows(connection, "raw.requests", sql("ingest/store_transcripts", source_format=literal(FORMAT)))
    days = connection.execute(sql("ingest/transcript_days")).fetchall()
    connection.unregister("transcript_rows")
    return {sha256: (first, last) for sha256, first, last in days}
