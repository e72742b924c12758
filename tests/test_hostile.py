"""Hostile rows and files among valid ones: a whole run ends, valid rows count exactly, and the rest is listed.

Belongs here: impossible values, damaged or malicious texts, and invalid files, in every format at once, in one home
with one run. Does not belong here: the rules of the formats (test_ingest, test_call_logs, test_provider_pages), and
messages of servers (test_pull, test_stream).
"""

from __future__ import annotations

import copy
import csv
import datetime as dt
import gzip
import io
import json
import os
import random
import sqlite3
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import logs
import pages
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Done, token_analytics
from conftest import Home
from rows import (
    COST_COLUMNS,
    SESSION_COLUMNS,
    SESSIONS,
    USAGE_COLUMNS,
    cost_row,
    session_row,
    transcript_line,
    usage_csv,
    usage_row,
)

from pipeline import limits, settings
from pipeline.ingest.sources import calls, provider_pages

CHANCE = random.Random(20260117)
# Part of the text of every bad row and file; it must not appear outside the quarantine.
CANARY = "XYZZYPLUGHCANARY"
SECRET_MARK = "SECRETcanary42"
SECRETS = (
    f"sk-ant-api03-{SECRET_MARK}", f"AIzaSy{SECRET_MARK}XX", f"xai-{SECRET_MARK}", f"gsk_{SECRET_MARK}",
    f"ghp_{SECRET_MARK}", f"AKIA{SECRET_MARK.upper()}", f"Bearer {SECRET_MARK}", f"team/sk-{SECRET_MARK}",
)  # fmt: skip

AHEAD = dt.datetime.now(dt.UTC) + dt.timedelta(days=4)
COUNTS = (
    "-1", "-9223372036854775809", "1.5", "1e400", "1e18", "NaN", "inf", "0x10", "１２", "٣", "1 000", "1,000", "'1",
    "=1+1", "999999999999999999", "9223372036854775808", "9999999999999999999", "1" * 400, "--", "\x1b[31m5", "1_000",
    "999999999999999", "100000000001",
)  # fmt: skip
NUMBERS = (-1, 1.5, float("nan"), float("inf"), 10**18, 2**63, 10**30, 1e25, [1], {"a": 1}, True)
TIMES = (
    "0001-01-01T00:00:00Z", "2026-03-01 (BC)", "-2026-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2019-12-31T23:59:59Z",
    "2286-11-20T17:46:39Z", "9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "2026-03-01T25:00:00Z", "infinity",
    "epoch", "yesterday", "20260301x", f"{AHEAD:%Y-%m-%d}T00:00:00Z",
)  # fmt: skip
MOMENTS = (9999999999, 9999999999999999999, -1, 1e300, 0, None, [], {"$date": 5})
AMOUNTS = ("1e25", "nan", "-inf", "123456789012345678", "1e400", "1,25", "0x1p3", "$3", "", "12 USD", "9" * 60)

Record = dict[str, Any]


Record = dict[str, Any]
Place = tuple[str | int, ...]
DAY = 86_400
# Odd, but valid names.
NAMES = (
    "NUL \0 inside", "half \ud83d of a pair", "k" * 10_000, "'; drop table marts.requests; --",
    "<script>alert(1)</script>",
    "=cmd|'/c calc'!A0", "esc\x1b[31mred\x1b]0;t\x07", "\u202eright to left", "line\nend", "{{ jinja }}", "{x}",
    "%s", "\\",
)  # fmt: skip


@dataclass(frozen=True)
class Format:
    """Records of a format, and the places for a hostile value in one of them.

    Attributes:
        record: makes the record of a number, whose tokens (or dollars) are `worth(number)`.
        write: a file of records and, where `has_lines`, of texts that are none.
        is_text: whether a record is a row of CSV, whose fields are texts.
    """

    record: Callable[[int], Record]
    worth: Callable[[int], int]
    write: Callable[[Sequence[Any]], str | bytes]
    times: tuple[Place, ...]
    counts: tuple[Place, ...]
    labels: tuple[Place, ...]
    table: str = "raw.requests"
    is_text: bool = False
    has_lines: bool = False
    is_money: bool = False


def with_value(record: Record, place: Place, value: Any) -> Record:
    """A copy of a record with another value in one place."""
    changed = copy.deepcopy(record)
    inner: Any = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return changed


def as_csv(columns: str) -> Callable[[Sequence[Any]], str]:
    def write(rows: Sequence[Any]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns.split(","))
        for row in rows:
            if isinstance(row, str):
                text.write(row + "\n")
            else:
                writer.writerow(row.values())
        return text.getvalue().encode("utf-8", "replace").decode()

    return write


def as_parquet(rows: Sequence[Record]) -> bytes:
    packed = io.BytesIO()
    clean = [{name: str(value).encode("utf-8", "replace").decode() for name, value in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(clean), packed)
    return packed.getvalue()


def row_of(columns: str, text: str) -> Record:
    return dict(zip(columns.split(","), text.split(","), strict=True))


def openai_row(columns: str, number: int, **stated: str) -> Record:
    times = [str(pages.MIDNIGHT + (number % 9) * DAY), str(pages.MIDNIGHT + (number % 9 + 1) * DAY), "x", "x"]
    return dict.fromkeys(columns.split(","), "") | dict(zip(columns.split(",")[:4], times, strict=True)) | stated


def session(number: int) -> Record:
    return row_of(SESSION_COLUMNS, session_row(f"s{number}", str(1000 + number)))


def at(number: int) -> float:
    """Time of a call: no two are as close as the tolerance between loggers."""
    return number * 300.0


def codex_event(number: int) -> Record:
    return logs.tokens(100 * (number + 1), 100, at(number))


def answer_of_opencode(number: int) -> Record:
    counts = {"input": 1000 + number, "output": 7, "reasoning": 11}
    message: Record = json.loads(logs.opencode(counts))["messages"][1]
    message["info"] |= {"id": f"msg_oc_{number}", "time": {"created": int(logs.epoch(at(number)) * 1000)}}
    return message


def message_of_gemini(number: int) -> Record:
    counts = {"input": 1000 + number, "output": 7, "cached": 0, "thoughts": 0, "tool": 0}
    return {
        "id": f"m{number}",
        "timestamp": logs.at(at(number)),
        "type": "gemini",
        "tokens": counts,
        "model": "gemini-2.5-flash",
    }


def message_of_pi(number: int) -> Record:
    message: Record = json.loads(
        logs.pi(logs.PI | {"input": 1000 + number, "totalTokens": 1048 + number}).splitlines()[2]
    )
    return message | {"id": f"{number:08x}", "timestamp": logs.at(at(number))}


def document(text: str) -> Callable[[Sequence[Any]], str]:
    def write(messages: Sequence[Any]) -> str:
        return json.dumps(json.loads(text) | {"messages": list(messages)}, indent=1)

    return write


def lines_below(*header: Any) -> Callable[[Sequence[Any]], str]:
    return lambda records: logs.lines(*header, *records)


def record_of_experiment(number: int) -> Record:
    usage = {"input_tokens": 1000 + number, "output_tokens": 7}
    return {"run_id": "run", "timestamp": logs.at(at(number)), "model_version": logs.MODEL, "usage_raw": usage}


def answer_of_claude(number: int) -> Record:
    return logs.answer(number, at(number), input_tokens=1000 + number)


def anthropic_bucket(result: Record, number: int) -> Record:
    start = dt.datetime(2026, 2, 1) + dt.timedelta(hours=number % 9)
    return pages.bucket(result, start=f"{start:%Y-%m-%dT%H:%M:%SZ}", seconds=3600)


def as_page(records: Sequence[Any]) -> str:
    return pages.page(*records)


IN_RESULT = ("results", 0)
FORMATS: Mapping[str, Format] = {
    "console_usage": Format(
        lambda n: row_of(USAGE_COLUMNS, usage_row(key=f"k{n}", tokens=str(1000 + n))),
        lambda n: 1002 + n, as_csv(USAGE_COLUMNS), (("usage_date_utc",),),
        (("usage_input_tokens_no_cache",), ("usage_output_tokens",), ("web_search_count",)),
        (("api_key",), ("model_version",), ("workspace",)), "raw.console_usage", is_text=True, has_lines=True,
    ),
    "console_cost": Format(
        lambda n: row_of(COST_COLUMNS, cost_row(usd=str(1000 + n)).replace("alpha", f"k{n}")),
        lambda n: 1000 + n, as_csv(COST_COLUMNS), (("usage_date_utc",),), (("cost_usd",),), (("api_key",),
        ("workspace",)),
        "raw.console_costs", is_text=True, has_lines=True, is_money=True,
    ),
    "openai_usage": Format(
        lambda n: openai_row(
            pages.USAGE_COLUMNS, n, model="gpt-5", api_key_id=f"k{n}", input_tokens=f"{1000 + n}.0", output_tokens="2.0"
        ),
        lambda n: 1002 + n, as_csv(pages.USAGE_COLUMNS), (("start_time",), ("end_time",)),
        (("input_tokens",), ("output_tokens",), ("input_cached_tokens",)), (("api_key_id",), ("project_id",),
        ("model",)),
        "raw.console_usage", is_text=True, has_lines=True,
    ),
    "openai_costs": Format(
        lambda n: openai_row(
            pages.COST_COLUMNS, n, amount_value=f"{1000 + n}.{'0' * 29}1", amount_currency="usd", project_id=f"p{n}"
        ),
        lambda n: 1000 + n, as_csv(pages.COST_COLUMNS), (("start_time",), ("end_time",)), (("amount_value",),),
        (("project_id",), ("line_item",)), "raw.console_costs", is_text=True, has_lines=True, is_money=True,
    ),
    "sessions_csv": Format(
        session, lambda n: 1090 + n, as_csv(SESSION_COLUMNS), (("session_started_at",), ("last_updated_at",)),
        (("input_tokens",), ("cache_creation_tokens",)), (("session_id",), ("user_id",), ("model",)),
        "raw.usage_sessions", is_text=True, has_lines=True,
    ),
    "sessions_parquet": Format(
        session, lambda n: 1090 + n, as_parquet, (("session_started_at",), ("last_updated_at",)),
        (("input_tokens",), ("output_tokens",)), (("session_id",), ("user_id",)), "raw.usage_sessions", is_text=True,
    ),
    "sessions_json": Format(
        session, lambda n: 1090 + n, lines_below(), (("session_started_at",),), (("input_tokens",), ("output_tokens",)),
        (("session_id",), ("user_id",)), "raw.usage_sessions", has_lines=True,
    ),
    "anthropic_usage": Format(
        lambda n: anthropic_bucket(pages.anthropic(uncached_input_tokens=1000 + n, api_key_id=f"k{n}"), n),
        lambda n: 5073 + n, as_page, (("starting_at",), ("ending_at",)),
        ((*IN_RESULT, "uncached_input_tokens"), (*IN_RESULT, "cache_creation", "ephemeral_1h_input_tokens")),
        ((*IN_RESULT, "api_key_id"), (*IN_RESULT, "model")), "raw.console_usage",
    ),
    "anthropic_cost": Format(
        lambda n: pages.bucket(pages.cost(f"{100_000 + 100 * n}")), lambda n: 1000 + n, as_page,
        (("starting_at",), ("ending_at",)), ((*IN_RESULT, "amount"),),
        ((*IN_RESULT, "workspace_id"), (*IN_RESULT, "description")), "raw.console_costs", is_money=True,
    ),
    "openai_usage_page": Format(
        lambda n: pages.openai_bucket(pages.openai(input_tokens=2000 + n, api_key_id=f"k{n}")), lambda n: 2060 + n,
        as_page,
        (("start_time",), ("end_time",)), ((*IN_RESULT, "input_tokens"), (*IN_RESULT, "output_tokens")),
        ((*IN_RESULT, "api_key_id"), (*IN_RESULT, "model")), "raw.console_usage",
    ),
    "openai_costs_page": Format(
        lambda n: pages.openai_bucket(pages.openai_cost(1000 + n, "gpt-5, output", f"p{n}")), lambda n: 1000 + n,
        as_page,
        (("start_time",), ("end_time",)), ((*IN_RESULT, "amount", "value"),),
        ((*IN_RESULT, "project_id"), (*IN_RESULT, "line_item")), "raw.console_costs", is_money=True,
    ),
    "claude_code": Format(
        answer_of_claude, lambda n: 1079 + n, lines_below(), (("timestamp",),),
        (("message", "usage", "input_tokens"), ("message", "usage", "cache_read_input_tokens")),
        (("message", "model"), ("cwd",)), has_lines=True,
    ),
    "codex": Format(
        codex_event, lambda n: 100, lines_below(logs.meta(SECRETS[0]), logs.turn(SECRETS[1])), (("timestamp",),),
        (("payload", "info", "last_token_usage", "input_tokens"), ("payload", "info", "last_token_usage",
        "output_tokens")),
        (), has_lines=True,
    ),
    "opencode": Format(
        answer_of_opencode, lambda n: 1018 + n, document(logs.opencode(session=f"ses_{SECRETS[2]}")), (("info",
        "time", "created"),),
        (("info", "tokens", "input"), ("info", "tokens", "reasoning")), (("info", "modelID"), ("info", "providerID")),
    ),
    "gemini_cli": Format(
        message_of_gemini, lambda n: 1007 + n, document(logs.gemini(session=SECRETS[3])), (("timestamp",),),
        (("tokens", "input"), ("tokens", "cached")), (("model",),),
    ),
    "pi": Format(
        message_of_pi, lambda n: 1048 + n, lines_below(json.loads(logs.pi(session=SECRETS[4]).splitlines()[0])),
        (("timestamp",),),
        (("message", "usage", "input"), ("message", "usage", "cacheWrite")),
        (("message", "model"), ("message", "provider")), has_lines=True,
    ),
    "litellm": Format(
        lambda n: logs.spend(n, at(n), prompt_tokens=1000 + n, endTime=None, request_id=f"lite_{n}"),
        lambda n: 1009 + n,
        lines_below(), (("startTime",),), (("prompt_tokens",), ("completion_tokens",)),
        (("model",), ("user",), ("api_key",), ("team_id",)), has_lines=True,
    ),
    "otel_genai": Format(
        lambda n: logs.otlp(logs.span(n, at(n), **{"gen_ai.usage.input_tokens": 1000 + n}) | {"endTimeUnixNano": None}),
        lambda n: 1009 + n, lines_below(), (("resourceSpans", 0, "scopeSpans", 0, "spans", 0, "startTimeUnixNano"),),
        (("resourceSpans", 0, "scopeSpans", 0, "spans", 0, "attributes", 3, "value", "intValue"),),
        (("resourceSpans", 0, "scopeSpans", 0, "spans", 0, "attributes", 2, "value", "stringValue"),), has_lines=True,
    ),
    "langfuse": Format(
        lambda n: logs.observation(n, at(n), usageDetails={"input": 1000 + n, "output": 9}), lambda n: 1009 + n,
        lines_below(), (("startTime",),), (("usageDetails", "input"), ("usageDetails", "output")), (("model",),),
        has_lines=True,
    ),
    "tracker_events": Format(
        lambda n: logs.event(n, at(n), usage={"input_tokens": 1000 + n, "output_tokens": 9}), lambda n: 1009 + n,
        lines_below(), (("timestamp",),), (("usage", "input_tokens"), ("usage", "output_tokens")),
        (("model",), ("project",), ("user_id",), ("session_id",), ("api_key",)), has_lines=True,
    ),
    "experiment_records": Format(
        record_of_experiment, lambda n: 1007 + n, lines_below(), (("timestamp",),),
        (("usage_raw", "input_tokens"), ("usage_raw", "output_tokens")), (("model_version",), ("run_id",)),
        has_lines=True,
    ),
}  # fmt: skip


# Fields that identify a record of the format and must not change.
KEPT_FIELDS = (
    "time", "date", "start", "ending", "type", "role", "object", "currency", "amount", "key", "created", "cache_hit",
    "tokens", "requests", "quantity", "units",
)  # fmt: skip
KEPT_TEXTS = ("chat", "api_key")


def with_secret(value: Any, secret: str, name: str = "") -> Any:
    """A record with a secret in each of its texts, except those that identify the format."""
    if isinstance(value, dict):
        return {key: with_secret(inner, secret, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_secret(inner, secret, name) for inner in value]
    is_kept = not isinstance(value, str) or value in KEPT_TEXTS or value.replace(".", "").isdigit()
    return value if is_kept or any(word in name.lower() for word in KEPT_FIELDS) else secret


@dataclass
class Landed:
    """A file of a format with valid records (and their worth), bad ones, and odd but valid ones."""

    content: str | bytes
    valid: int
    worth: int
    bad: int


def hostile_file(kind: Format, chance: random.Random) -> Landed:
    """Valid records, mixed with bad ones of every kind possible in the format."""
    numbers = iter(range(1, 1000))
    bad: list[Any] = []

    def spoil(places: Sequence[Place], values: Sequence[Any], sample: int) -> None:
        bad.extend(
            with_value(kind.record(next(numbers)), chance.choice(places), value)
            for value in chance.sample(values, sample)
        )

    if kind.is_money:
        spoil(kind.counts, AMOUNTS, 8)
    else:
        spoil(kind.counts, COUNTS, 12)
        if not kind.is_text:
            spoil(kind.counts, NUMBERS, 6)
    spoil(kind.times, TIMES, 6)
    if not kind.is_text:
        spoil(kind.times[:1], MOMENTS, 4)
    if kind.has_lines and kind.is_text:
        row = as_csv("x")([kind.record(next(numbers))]).splitlines()[1]
        bad += [row[: len(row) // 2], row + ",1", f"{row}\0", f"{CANARY},{CANARY}", "x" * (1 << 21)]
    elif kind.has_lines:
        line = json.dumps(kind.record(next(numbers)))
        bad += [
            line[:-1], line[: len(line) // 2], f"{CANARY} {line}", line.replace(": ", "\0: ", 1), "[" * 20_000,
            '{"a":' * 5_000, "5", '"x"', f'["{CANARY}"]', line.replace(": ", "\x01: ", 1), "\udcff".join(line[:40]),
        ]  # fmt: skip
    valid = [next(numbers) for _ in range(12)]
    records: list[Any] = [kind.record(number) for number in valid]
    for name in NAMES[kind.is_text and kind.has_lines :]:
        for place in kind.labels[:1]:
            valid.append(next(numbers))
            records.append(with_value(kind.record(valid[-1]), place, name))
    valid.append(next(numbers))
    records.append(with_secret(kind.record(valid[-1]), chance.choice(SECRETS)))
    mixed = [*bad, *records[1:]]
    chance.shuffle(mixed)
    text = kind.write([records[0], *mixed])
    return Landed(text, len(valid), sum(map(kind.worth, valid)), len(bad))


USAGE = usage_csv(usage_row(key="hostile", tokens="7", output="3"))


def bomb(begin: str, mebibytes: int) -> bytes:
    """A file that unpacks to a little more than it states."""
    return gzip.compress(begin.encode() + b" " * (mebibytes << 20), 1)


def other_database(folder: Path) -> bytes:
    with sqlite3.connect(folder / "x.db") as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (?)", [json.dumps(answer_of_claude(1))])
    connection.close()
    return (folder / "x.db").read_bytes()


def packed_parquet(**columns: Sequence[Any]) -> bytes:
    packed = io.BytesIO()
    pq.write_table(pa.table(columns), packed)
    return packed.getvalue()


def zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", USAGE)
    return packed.getvalue()


def in_one_page(**result: Any) -> str:
    return pages.page(pages.bucket(result))


def hostile_files(folder: Path) -> dict[str, str | bytes]:
    """Files without readable usage, by their fault."""
    row = usage_row(key=CANARY)
    wide = ",".join(f"c{number}" for number in range(30_000))
    random_bytes = CHANCE.randbytes(50_000)
    files: dict[str, str | bytes] = {
        "empty": b"", "spaces": b"  \n \n\n", "nul": b"\0" * 5000, "newlines": b"\n" * 1_000_000,
        "random": random_bytes,
        "png": b"\x89PNG\r\n\x1a\n" + random_bytes, "half_a_parquet": b"PAR1" + random_bytes[:3000] + b"PAR1",
        "other.parquet": packed_parquet(a=[1, 2]), "database": other_database(folder), "zip": zipped(),
        "text": CANARY, "pdf": b"%PDF-1.4\n" + random_bytes, "xml": f"<?xml?><a>{CANARY}</a>",
        "header": USAGE_COLUMNS + "\n", "lacks_a_column": USAGE.replace("usage_output_tokens", f"{CANARY} {CANARY}"),
        "has_a_column_twice": USAGE.replace("workspace", "api_key"), "semicolons": USAGE.replace(",", ";"),
        "tabs": USAGE.replace(",", "\t"), "utf16": USAGE.encode("utf-16"), "utf32": USAGE.encode("utf-32"),
        "quote_without_end": f'{USAGE_COLUMNS}\n2026-03-09,"{CANARY},k,w\n', "html": f"<html>{CANARY}</html>",
        "sql": "'; drop table marts.requests; --", "formula": "=cmd|'/c calc'!A0", "shell": "$(touch /tmp/pwned)\n",
        "cut.gz": gzip.compress(CHANCE.randbytes(9000))[:-20], "no_gz": b"\x1f\x8b" + random_bytes,
        "gz_of_gz": gzip.compress(gzip.compress(USAGE.encode())), "gz_of_nothing": gzip.compress(b""),
        "bomb_of_spaces": bomb("", 20), "bomb_of_a_document": bomb('[{"request_id":"a",\n"startTime":"b","spend":1,'
        '"prompt_tokens":1,"completion_tokens":1}', 20),
        "bomb_of_a_page": bomb(in_one_page(uncached_input_tokens=1, model="m"), 20),
        "wide": f"{wide}\n{wide}\n", "wide_usage": f"{USAGE_COLUMNS},{wide}\n{row}{',' * 30_000}\n",
        "cell": f"{USAGE_COLUMNS}\n{usage_row(key='x' * 9_000_000)}\n",
        "line": json.dumps(answer_of_claude(1) | {"x": "a" * 9_000_000}),
        "deep_array": "[" * 200_000 + "]" * 200_000, "deep_object": '{"data":' * 50_000 + "1" + "}" * 50_000,
        "number": "5", "string": f'"{CANARY}"', "null": "null", "no_array": "[]", "no_object": "{}",
        "nan": '{"data":NaN}',
        "cut_array": logs.lines([logs.spend(900)])[:-9].replace("{", "{\n", 1),
        "cut_document": logs.gemini(logs.GEMINI)[:-200],
        "bad_page": in_one_page(uncached_input_tokens=CANARY, output_tokens=-1, model="m"),
        "page_of_text": '{"data":"x","has_more":false}',
        "page_of_nulls": '{"data":[null,5,{"results":null}],"has_more":false}',
        "session_of_nothing": '{"schema":"token-analytics-tracker-session/1","events":5}',
        "bad.parquet": packed_parquet(
            session_id=["a"], session_started_at=["2026-03-01"], last_updated_at=["bad"], model=["m"],
            input_tokens=[2**62],
            output_tokens=[-3], cache_read_tokens=[0], cache_creation_tokens=[0],
        ),
        "esc\x1b[31mred": "no format", "new\nline": "no format", "n" * 240: "no format", "{{ jinja }} %s": "no format",
        "-rf *": "no format", "file?x=1#y": "no format", "=cmd": "no format", "name'); drop table x; --": "no format",
        "a" + "/d" * 60 + "/far": "no format",
    }  # fmt: skip
    return files


def land_what_is_no_file(folder: Path) -> None:
    """Links, pipes and folders with the names of files."""
    os.mkfifo(folder / "pipe.csv")
    (folder / "loop_a").symlink_to("loop_b")
    (folder / "loop_b").symlink_to("loop_a")
    (folder / "etc").symlink_to("/etc")
    (folder / "passwd.csv").symlink_to("/etc/passwd")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "folder.csv").mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff\xfename.csv")).write_text(USAGE)


def canary_landing() -> dict[str, str | bytes]:
    """Files with the canary in every field that could hold text of a user, and in unreadable lines."""
    line = json.loads(transcript_line("m1"))
    line |= {
        "cwd": f"/home/{CANARY}/shop", "gitBranch": CANARY, "version": CANARY, "slug": CANARY, "userType": CANARY,
        "toolUseResult": {"stdout": CANARY}, "summary": CANARY, "content": CANARY,
    }  # fmt: skip
    line["message"] |= {
        "content": [
            {"type": "text", "text": CANARY},
            {"type": "tool_use", "name": CANARY, "input": {"command": CANARY}},
        ],
        "stop_sequence": CANARY,
    }
    line["message"]["usage"] |= {"server_tool_use": {"note": CANARY}, CANARY: 1}
    lines = [
        json.dumps(line),
        json.dumps({"type": "summary", "leafUuid": "l", "summary": CANARY}),
        json.dumps({"type": "user", "sessionId": "s1", "message": {"role": "user", "content": CANARY}}),
        f'{{"type":"assistant","sessionId":"s1","message":{{"content":"{CANARY}',
        f"// {CANARY}",
        f"{CANARY} no JSON at all",
        transcript_line("m2", timestamp="", slug=CANARY),
        transcript_line("m3", output=CANARY),
    ]
    session = f"{SESSION_COLUMNS},title,last_prompt\n{session_row('s7')},{CANARY},{CANARY}\n{CANARY}\n"
    return {
        "t.jsonl": "\n".join(lines),
        "t.gz": gzip.compress("\n".join([*lines, transcript_line("m4")]).encode()),
        "broken.jsonl": f'{transcript_line("m5")}\n{{"{CANARY}": \r "x\x01"\n',
        "headers.csv": f"{CANARY},b\n1,2\n",
        "usage.csv": usage_csv(usage_row(), f"{CANARY}{usage_row()},{CANARY}"),
        "sessions.csv": session,
        "sessions.jsonl": json.dumps({**SESSIONS[0], "session_id": "s8", "title": CANARY}) + f'\n{{"model": "{CANARY}',
        **canary_logs(),
        "note.txt": CANARY,
        "some.json": json.dumps({"prompt": CANARY}),
        "short.csv": usage_csv(usage_row()).replace("usage_output_tokens", f"{CANARY} {CANARY}"),
    }  # fmt: skip


def canary_logs() -> dict[str, str]:
    """One call of each format of logs, with the canary in texts, names and unknown fields, and in a broken line."""
    documents = {
        "opencode": logs.opencode({"input": 5, "output": 7}),
        "gemini": logs.gemini(logs.GEMINI),
    }
    for name, text in documents.items():
        document = json.loads(text)
        for message in document["messages"]:
            message |= {"content": CANARY, "parts": [{"text": CANARY}], "toolCalls": [{"args": CANARY}], CANARY: CANARY}
        documents[name] = json.dumps(document | {"title": CANARY, "summary": {"diffs": CANARY}}, indent=1)
    prompt = {"type": "response_item", "timestamp": logs.at(1), "payload": {"content": CANARY, "id": CANARY}}
    prompt = {"type": "message", "id": "9", "timestamp": logs.at(1), "message": {"role": "user", "content": CANARY}}
    texts = {"messages": [CANARY], "response": CANARY, "request_tags": [CANARY], "proxy_server_request": CANARY}
    attributes = {"gen_ai.prompt": CANARY, "gen_ai.input.messages": CANARY, CANARY: CANARY}
    return documents | {
        "codex": logs.lines(logs.meta("a"), prompt, logs.tokens(100, 100, 1), f'{{"payload": "{CANARY}'),
        "pi": logs.pi(logs.PI) + logs.lines(prompt, CANARY),
        "litellm": logs.lines(logs.spend(100, **texts), f'{{"messages": "{CANARY}'),
        "otel": logs.lines(logs.otlp(logs.span(200, **attributes)), f'{{"resourceSpans": "{CANARY}'),
        "langfuse": logs.lines(logs.observation(300, input=CANARY, output=CANARY, metadata={"x": CANARY}, name=CANARY)),
        "tracker": logs.lines(logs.event(400, metadata={"note": CANARY}, prompt=CANARY), f'{{"usage": "{CANARY}'),
    }


@dataclass(frozen=True)
class Ended:
    """Output of the run, its input, and its home."""

    home: Home
    done: Done
    rows: Mapping[str, Landed]
    files: Sequence[str]


@pytest.fixture(scope="module")
def ended(new_home: Callable[..., Home], tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One run over all of it."""
    home = new_home()
    chance = random.Random(7)
    rows = {name: hostile_file(kind, chance) for name, kind in FORMATS.items()}
    files = hostile_files(tmp_path_factory.mktemp("files"))
    for name, landed in rows.items():
        text = landed.content
        home.land({f"rows/{name}": text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text})
    home.land({f"files/{name}": content for name, content in files.items()})
    land_what_is_no_file(home.settings.landing / "files")
    home.land({f"named/{secret.replace('/', '-')}.csv": usage_csv(usage_row(key=secret)) for secret in SECRETS})
    home.land({f"texts/{name}": content for name, content in canary_landing().items()})
    with pytest.MonkeyPatch.context() as patch:
        # With the actual limit of 256 MiB, a test would be slow.
        for module in (calls, provider_pages):
            patch.setattr(module, "MAX_DOCUMENT_BYTES", 16 << 20)
        knobs = {"SETTLE_SECONDS": "0", "MAX_REJECTED_SHARE": "1", "USER_IDS": "plain", "ANALYSIS_SEGMENTS": "2"}
        for name, value in knobs.items():
            patch.setenv(f"TOKEN_ANALYTICS_{name}", value)
        done = token_analytics("run", "--home", home.root)
    return Ended(home, done, rows, [*files])


def test_the_run_ends_and_publishes(ended: Ended) -> None:
    assert ended.done.code == 0, ended.done
    assert "stopped" not in ended.done.err
    with duckdb.connect(str(ended.home.settings.published), read_only=True) as connection:
        assert connection.execute("SELECT count(*) > 100 FROM marts.requests").fetchall() == [(True,)]
    assert len(ended.files) >= 60
    assert sum(landed.bad for landed in ended.rows.values()) >= 500


@pytest.mark.parametrize("name", FORMATS)
def test_the_valid_rows_are_exact_and_the_others_are_listed_with_their_place_and_reason(
    ended: Ended, name: str
) -> None:
    kind, landed = FORMATS[name], ended.rows[name]
    ledger = ended.home.ledger(f"rows/{name}")
    worth = "cost_usd" if kind.is_money else logs.KINDS.replace(",", " +")
    found = ended.home.query(
        f"SELECT count(*), sum({worth})::bigint FROM {kind.table} WHERE file_sha256 = ?", [ledger["file_sha256"]]
    )
    assert (ledger["status"], found) == ("loaded", [(landed.valid, landed.worth)])
    # A JSON line that is not an object belongs to no format; some formats count it as ignored.
    assert 0 <= landed.bad - ledger["rows_rejected"] <= 3
    listed = ended.home.query(
        "SELECT count(*), count(DISTINCT line), min(line) FROM ingest.rejected_rows "
        "WHERE file_sha256 = ? AND reason <> ''", [ledger["file_sha256"]],
    )  # fmt: skip
    assert listed[0][:2] == (ledger["rows_rejected"],) * 2


def test_every_row_of_every_file_is_accounted_for(ended: Ended) -> None:
    assert ended.home.query(
        "SELECT path FROM ingest.files WHERE rows_read <> rows_loaded + rows_rejected + rows_ignored + rows_repeated "
        "OR (status <> 'loaded' AND message = '')"
    ) == []  # fmt: skip
    known_names = {Path(path).name for (path,) in ended.home.query("SELECT path FROM ingest.files")}
    known_names |= {Path(path).name for (path,) in ended.home.query("SELECT path FROM ingest.paths")}
    assert len(known_names) >= len(ended.files)


def texts_of(home: Home) -> Iterator[tuple[str, bytes]]:
    """Everything in the home except landing and quarantine: files, and the content of compressed ones."""
    for path in sorted(home.root.rglob("*")):
        if (
            not path.is_file()
            or path.is_relative_to(home.settings.landing)
            or path.is_relative_to(home.settings.quarantine)
        ):
            continue
        yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            yield str(path), repr(pq.read_table(path).to_pylist()).encode()
        if path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as connection:
                for schema, table in connection.execute(
                    "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
                ).fetchall():
                    rows = connection.execute(f'FROM {schema}."{table}"').fetchall()
                    yield f"{path}: {schema}.{table}", repr(rows).encode("utf-8", "surrogatepass")


def test_neither_a_secret_nor_the_text_of_a_bad_row_is_kept_or_shown(ended: Ended) -> None:
    shown = (ended.done.out + ended.done.err).encode()
    for place, text in (("shown", shown), *texts_of(ended.home)):
        for mark in (CANARY, SECRET_MARK):
            assert mark.lower().encode() not in text.lower(), (mark, place)
    quarantined = list(ended.home.settings.quarantine.iterdir())
    assert CANARY.encode() in b"".join(gzip.decompress(file.read_bytes()) for file in quarantined)
    assert {file.stat().st_mode & 0o777 for file in quarantined} == {0o600}


def test_no_setting_lets_the_sums_of_ten_million_rows_leave_64_bits() -> None:
    with pytest.raises(settings.ConfigurationError, match="max_row_tokens"):
        settings.load(max_row_tokens=limits.MAX_ROW_TOKENS + 1)
    # Input and output, each with counts outside of it, cached tokens, and writes to both caches.
    assert 10_000_000 * 7 * limits.MAX_ROW_TOKENS < 2**63
