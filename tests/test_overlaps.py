"""Overlapping sources count once: every rule against the oracle on random histories, and the plain cases by hand.

Belongs here: which of several records of the same tokens is in force. Does not belong here: single files (test_ingest)
and real ones (test_real_data).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import oracle
import pytest
from hypothesis import HealthCheck, example, given, settings
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
# What the console writes for a value of the canonical vocabulary.
WRITTEN = {"(workbench)": "", "0-200k": "≤ 200k", "200k-1M": "200k-1M", "Default": "default"}
STAMPS = {MINUTE: "%Y-%m-%d %H:%M", HOUR: "%Y-%m-%d %H:00", WHOLE_DAY: "%Y-%m-%d"}
ONLY = [None, None, None, ("workspace", "research"), ("api_key", "alpha"), ("api_key", "(workbench)")]


def examples(count: int) -> settings:
    """The same `count` random cases in every run."""
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Usage:
    """Tokens of one minute and key, and when the console's reports came to know of them."""

    minute: dt.datetime
    known_at: dt.datetime
    dimensions: dict[str, str]
    counts: oracle.Counts


@dataclass(frozen=True)
class Request:
    """An export as somebody asks the console for it."""

    grain: int
    generation: int
    first_hour: int  # of the history, from 0
    hours: int
    taken_after_hours: int  # since the history began
    only: tuple[str, str] | None = None  # column and value
    copies: int = 1
    seed: int = 0


def usage_history(seed: int, days: int = 2, moments: int = 26) -> list[Usage]:
    """Usage at a few dozen moments of two days, under few enough keys that exports meet in every one of them."""
    chance = random.Random(seed)
    history = []
    for _ in range(moments):
        minute = DAY + dt.timedelta(minutes=chance.choice([chance.randrange(days * 1440), 600 + chance.randrange(90)]))
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
            counts: Any = tuple(chance.choice([0, chance.randrange(1, 5000)]) for _ in range(5)) + (chance.randrange(3),)
            known_at = minute + dt.timedelta(hours=chance.choice([0, 0, 0, 1, 5]))
            history.append(Usage(minute, known_at, dimensions, counts))
    return history


def taken(history: Sequence[Usage], request: Request) -> list[oracle.ConsoleRow]:
    """The rows that the console would give for `request`."""
    first = DAY + dt.timedelta(hours=request.first_hour)
    last = first + dt.timedelta(hours=request.hours)
    now = DAY + dt.timedelta(hours=request.taken_after_hours)
    stated = ALWAYS + LATER[request.generation]
    cells: dict[tuple[Any, ...], list[oracle.Counts]] = {}
    for usage in history:
        start = usage.minute - dt.timedelta(seconds=(usage.minute - DAY).total_seconds() % request.grain)
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


def landing(history: Sequence[Usage], requests: Sequence[Request], seed: int) -> dict[str, str]:
    """Files with names that say nothing, for all `requests` and their copies, one of them byte by byte."""
    files = []
    for request in requests:
        rows = taken(history, request)
        # A minute file whose every row stands on a full hour cannot be told from an hour file.
        if rows and (request.grain != MINUTE or any(row.start.minute for row in rows)):
            files += [as_csv(rows, request, copy) for copy in range(request.copies)]
    random.Random(seed).shuffle(files)
    return {f"{i:02}/{hashlib.md5(text.encode()).hexdigest()[:i % 7 + 1]}.csv": text for i, text in enumerate(files)} | (
        {"again/copy of an export": files[0]} if files else {}
    )


def exports_of(history: Sequence[Usage], requests: Sequence[Request]) -> list[oracle.ConsoleExport]:
    """What the oracle is told of the same landing: rows and the sha256 of each file."""
    exports = []
    for request in requests:
        rows = taken(history, request)
        if rows and (request.grain != MINUTE or any(row.start.minute for row in rows)):
            for copy in range(request.copies):
                sha256 = hashlib.sha256(as_csv(rows, request, copy).encode()).hexdigest()
                exports.append(oracle.ConsoleExport(sha256, tuple(rows)))
    return exports


def expected_minutes(kept: Sequence[oracle.InForce]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Rows of marts.token_usage_minutes that the oracle expects, by grain."""
    minutes: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for found in kept:
        if found.has_finer and not any(found.counts):
            continue
        stated = dict(found.row.key)
        names = [*ALWAYS, "context_window", "inference_geo", "speed"]
        grain = (found.row.start, found.row.seconds, *(stated.get(name, "") for name in names))
        before = minutes.get(grain, (0,) * 6)
        minutes[grain] = tuple(a + b for a, b in zip(before, found.counts, strict=True))
    return minutes


CONSOLE_MINUTES = """
    SELECT usage_minute, bucket_seconds, model_version, api_key, workspace, usage_type, context_window, inference_geo,
        speed, input_tokens_no_cache, input_tokens_cache_write_5m, input_tokens_cache_write_1h, input_tokens_cache_read,
        output_tokens, web_search_count
    FROM marts.token_usage_minutes WHERE source = 'console'
"""
STALE = "SELECT count(*) FROM marts.stale_exports WHERE source_format = 'console_usage'"
CONSERVATION = """
    SELECT stored_tokens, superseded_tokens, in_force_tokens, marts_tokens FROM marts.token_conservation
    WHERE source = 'console'
"""


def console_minutes(connection: Any) -> dict[tuple[Any, ...], tuple[int, ...]]:
    rows = connection.execute(CONSOLE_MINUTES).fetchall()
    minutes = {row[:9]: row[9:] for row in rows}
    assert len(minutes) == len(rows)
    return minutes


requests_ = st.builds(
    Request,
    grain=st.sampled_from([MINUTE, HOUR, WHOLE_DAY]),
    generation=st.sampled_from([10, 11, 12, 14, 14]),
    first_hour=st.sampled_from([0, 0, 9, 10, 24]),
    hours=st.sampled_from([1, 2, 24, 48]),
    taken_after_hours=st.sampled_from([11, 14, 30, 100, 100, 100]),
    only=st.sampled_from(ONLY),
    copies=st.sampled_from([1, 1, 1, 2]),
    seed=st.integers(0, 99),
)
ALL = {"first_hour": 0, "hours": 48, "taken_after_hours": 100}
# An hour with two context windows in 12 columns, inside a day whose 14 columns tell these windows apart too.
TWELVE_IN_FOURTEEN = [Request(WHOLE_DAY, 14, **ALL), Request(HOUR, 12, 10, 1, 100)]
ONE_WRITE_COLUMN_IN_FOURTEEN = [Request(WHOLE_DAY, 14, **ALL), Request(HOUR, 10, 0, 11, 100)]


@examples(40)
@given(st.integers(0, 10_000), st.lists(requests_, min_size=1, max_size=6))
@example(1, TWELVE_IN_FOURTEEN)
@example(2, ONE_WRITE_COLUMN_IN_FOURTEEN)
def test_any_overlapping_exports_give_exactly_what_the_rules_say(models, seed, requests):
    history = usage_history(seed)
    exports = exports_of(history, requests)
    with models.over(landing(history, requests, seed), until="token_conservation") as connection:
        kept = oracle.console_usage(exports)
        assert console_minutes(connection) == expected_minutes(kept)
        assert connection.execute(STALE).fetchone() == (sum(found.is_stale for found in kept),)

        stored = sum(sum(row.counts[:5]) for export in exports for row in export.rows)
        in_force = sum(sum(found.counts[:5]) for found in kept)
        assert connection.execute(CONSERVATION).fetchone() == (stored, stored - in_force, in_force, in_force)


@examples(8)
@given(st.integers(0, 10_000), st.lists(requests_, min_size=2, max_size=5), st.integers(1, 99))
def test_order_and_names_of_landed_files_change_nothing(models, seed, requests, other):
    history = usage_history(seed)
    with models.over(landing(history, requests, 0), until="token_usage_minutes") as connection:
        one = connection.execute("FROM marts.token_usage_minutes ORDER BY ALL").fetchall()
    with models.over(landing(history, requests, other), until="token_usage_minutes") as connection:
        assert connection.execute("FROM marts.token_usage_minutes ORDER BY ALL").fetchall() == one


complete = st.builds(
    Request,
    grain=st.sampled_from([MINUTE, HOUR, WHOLE_DAY]),
    generation=st.sampled_from([10, 11, 12, 14]),
    first_hour=st.sampled_from([0, 9, 10, 24]),
    hours=st.sampled_from([1, 24, 48]),
    taken_after_hours=st.just(100),
    only=st.sampled_from(ONLY),
)


@examples(20)
@given(st.integers(0, 10_000), st.lists(complete, max_size=5), st.sampled_from([10, 11, 12, 14]))
def test_a_day_adds_up_to_the_truth_whatever_finer_exports_lie_beside_it(models, seed, requests, generation):
    history = usage_history(seed)
    whole = Request(WHOLE_DAY, generation, **ALL)
    truth: Counter[Any] = Counter()
    for usage in history:
        at = (usage.minute.date(), *(usage.dimensions[name] for name in ALWAYS))
        truth[at] += sum(usage.counts[:5])
    with models.over(landing(history, [whole, *requests], seed), until="token_usage_minutes") as connection:
        rows = connection.execute(f"""
            SELECT usage_date, {", ".join(ALWAYS)}, sum(total_tokens)::bigint FROM marts.token_usage_minutes
            GROUP BY ALL HAVING sum(total_tokens) > 0
        """).fetchall()
    assert {row[:-1]: row[-1] for row in rows} == {at: tokens for at, tokens in truth.items() if tokens}
