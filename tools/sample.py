"""The synthetic sample: one organisation, 2025-07-01 to 2025-11-30 UTC, and the expected results of a run over it.

Belongs here: a seeded ground truth of requests, the files that providers and loggers would write from it, planted
oddities, and `expected.json`, all derived from the truth. Does not belong here: reading these files; this module does
not call the pipeline, so the expectations are independent of it.

All random numbers come from `random.Random` with a named stream; they do not depend on library versions.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

SEED = 20251128
FIRST_DAY = date(2025, 7, 1)
END_DAY = date(2025, 12, 1)  # exclusive
MONTHS = ("2025-07", "2025-08", "2025-09", "2025-10", "2025-11")
MONTHS_WITHOUT_CONTEXT_WINDOW = ("2025-07", "2025-08")
SPIKE_DAY = date(2025, 10, 22)
KNOWN_HOUR = datetime(2025, 11, 28, 15)
LONG_CONTEXT_TOKENS = 200_000  # above this input, long-context rates apply
CENT = Decimal("0.01")
USD_PER_WEB_SEARCH = Decimal("0.01")  # 10 per 1000

K = TypeVar("K", bound=Hashable)

# -------------------- vocabulary


class Tokens(NamedTuple):
    """The five disjoint token kinds, and web searches, which are no tokens."""

    no_cache: int = 0
    write_5m: int = 0
    write_1h: int = 0
    read: int = 0
    output: int = 0
    searches: int = 0

    @property
    def context(self) -> int:
        """Input of all kinds, which determines the context window."""
        return self.no_cache + self.write_5m + self.write_1h + self.read

    @property
    def total(self) -> int:
        """Sum of the five kinds."""
        return self.context + self.output


COLUMNS = (
    "input_tokens_no_cache",
    "input_tokens_cache_write_5m",
    "input_tokens_cache_write_1h",
    "input_tokens_cache_read",
    "output_tokens",
    "web_search_count",
)
COST_TOKEN_TYPES = ("input_no_cache", "input_cache_write_5m", "input_cache_write_1h", "input_cache_read", "output")


@dataclass(frozen=True)
class Model:
    """A model and its list prices in USD per million tokens, in the order of the five kinds."""

    version: str
    model: str
    display_name: str
    usd_per_mtok: tuple[Decimal, ...]
    long_usd_per_mtok: tuple[Decimal, ...] = ()
    retired_on: date = END_DAY


def _usd(*prices: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(price) for price in prices)


HAIKU = Model("claude-haiku-4-5-20251001", "claude-haiku-4-5", "Claude Haiku 4.5", _usd("1", "1.25", "2", "0.10", "5"))
SONNET_4 = Model(
    "claude-sonnet-4-20250514",
    "claude-sonnet-4",
    "Claude Sonnet 4",
    _usd("3", "3.75", "6", "0.30", "15"),
    retired_on=date(2025, 9, 29),
)
SONNET_4_5 = Model(
    "claude-sonnet-4-5-20250929",
    "claude-sonnet-4-5",
    "Claude Sonnet 4.5",
    _usd("3", "3.75", "6", "0.30", "15"),
    _usd("6", "7.50", "12", "0.60", "22.50"),
)
OPUS = Model("claude-opus-4-1-20250805", "claude-opus-4-1", "Claude Opus 4.1", _usd("15", "18.75", "30", "1.50", "75"))
HAIKU_FROM, OPUS_FROM = date(2025, 10, 15), date(2025, 8, 5)  # their releases: no model is used before it exists
LONG_CONTEXT_FROM = date(2025, 9, 30)
ONE_HOUR_CACHE_FROM = WEB_SEARCH_FROM = date(2025, 9, 1)


def _model(size: str, day: date) -> Model:
    """The model for a small, mid or large task on `day`; the mid model if the other one is not released yet."""
    if size == "small" and day >= HAIKU_FROM:
        return HAIKU
    if size == "large" and day >= OPUS_FROM:
        return OPUS
    return SONNET_4 if day < SONNET_4.retired_on else SONNET_4_5


SUPPORT, SEARCH, REPORTS, DEVELOPERS, WORKBENCH = "support-bot", "Search, documents", "report-writer", "claude-code", ""
# Each key wastes money in one way, and is logged request by request.
DIGEST, TRIAGE, ASSISTANT, REVIEW, CRAWLER = (
    "nightly-digest",
    "mail-triage",
    "sales-assistant",
    "contract-review",
    "site-crawler",
)
TRACKED_KEYS = (DIGEST, TRIAGE, ASSISTANT, REVIEW, CRAWLER)
WORKSPACES = dict.fromkeys(TRACKED_KEYS, "production") | {
    SUPPORT: "production",
    SEARCH: "production",
    REPORTS: "production",
    DEVELOPERS: "Default",
    WORKBENCH: "Default",
}
APPLICATION_KEYS = (SUPPORT, SEARCH, REPORTS)
USERS = tuple(f"user-{i:02d}" for i in range(1, 9))
USER_WEIGHTS = tuple(1 / i for i in range(1, 9))
DEVELOPER_IDS = tuple(f"dev-{i:02d}" for i in range(1, 5))


@dataclass(frozen=True, slots=True)
class Request:
    """One API call. `session` is '' if no logger records it; `agent` is a subagent of the session."""

    at: datetime
    model: Model
    api_key: str
    user: str
    session: str
    tokens: Tokens
    agent: str = ""

    @property
    def workspace(self) -> str:
        """The workspace of the API key."""
        return WORKSPACES[self.api_key]

    @property
    def is_long(self) -> bool:
        """Whether the long-context rates apply."""
        return self.tokens.context > LONG_CONTEXT_TOKENS

    @property
    def kind_costs_usd(self) -> tuple[Decimal, ...]:
        """Exact list cost of each of the five kinds."""
        rates = self.model.long_usd_per_mtok if self.is_long else self.model.usd_per_mtok
        return tuple(count * rate / 1_000_000 for count, rate in zip(self.tokens, rates, strict=False))

    @property
    def search_cost_usd(self) -> Decimal:
        """Exact list cost of the web searches."""
        return self.tokens.searches * USD_PER_WEB_SEARCH


def _sum(requests: Iterable[Request]) -> Tokens:
    return Tokens(*(sum(column) for column in zip(Tokens(), *(r.tokens for r in requests), strict=True)))


def _grouped(requests: Iterable[Request], key: Callable[[Request], K]) -> dict[K, list[Request]]:
    """Requests by key, in the order of first occurrence."""
    groups: dict[K, list[Request]] = defaultdict(list)
    for request in requests:
        groups[key(request)].append(request)
    return dict(groups)


# -------------------- ground truth

WEEKDAY_PROFILE = (1.0, 1.08, 1.1, 1.05, 0.9, 0.32, 0.28)  # Monday to Sunday
HOUR_PROFILE = (1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 18, 16, 13, 16, 18, 17, 14, 10, 7, 5, 4, 3, 2, 1)
GROWTH_PER_DAY = 1.003  # about 9% a month
CACHE_LIFETIME = {False: timedelta(minutes=5), True: timedelta(hours=1)}
LARGEST_CONTEXT = 150_000  # of an ordinary conversation, below the long-context tier


@dataclass(frozen=True)
class Traffic:
    """The usage of one API key. Medians and sigmas of lognormals; counts are tokens."""

    api_key: str
    sessions_per_day: float
    size_weights: tuple[float, float, float]  # small, mid, large models
    requests_median: float
    requests_sigma: float
    prompt_tokens: int
    input_median: float
    input_sigma: float
    output_median: float
    gap_median_seconds: float
    is_cached: bool = True
    uncached_tail: int = 0  # input after the last cache breakpoint


DEVELOPER_TRAFFIC = Traffic(DEVELOPERS, 1.8, (0.0, 0.86, 0.14), 9.0, 0.75, 16_200, 1_500, 1.0, 330, 28, uncached_tail=6)
SUBAGENT_TRAFFIC = replace(
    DEVELOPER_TRAFFIC, prompt_tokens=6_800, input_median=900, output_median=190, gap_median_seconds=9
)
TRAFFIC = (
    Traffic(SUPPORT, 9.0, (0.62, 0.38, 0.0), 4.0, 0.9, 3_600, 420, 0.8, 260, 70, uncached_tail=60),
    Traffic(SEARCH, 6.0, (0.7, 0.3, 0.0), 2.0, 0.8, 1_200, 5_200, 0.7, 180, 25, is_cached=False),
    Traffic(REPORTS, 2.2, (0.0, 0.72, 0.28), 6.0, 0.8, 2_400, 6_500, 1.1, 1_250, 120, uncached_tail=25),
    DEVELOPER_TRAFFIC,
    Traffic(WORKBENCH, 0.5, (0.3, 0.5, 0.2), 1.5, 0.5, 0, 700, 1.0, 420, 90, is_cached=False),
)

# The known hour, request by request: minute, second, then no_cache, write_5m, write_1h, read, output.
KNOWN_HOUR_SONNET = (
    (2, 11, 4, 1_890, 14_208, 0, 212),
    (6, 3, 3, 14_600, 0, 16_098, 655),
    (10, 4, 3, 608, 0, 30_698, 280),
    (14, 27, 3, 607, 0, 31_306, 260),
    (18, 8, 5, 14_000, 0, 31_913, 498),
    (21, 51, 3, 1_500, 0, 45_913, 341),
    (25, 36, 3, 1_400, 0, 47_413, 402),
    (29, 19, 3, 1_300, 0, 48_813, 287),
    (33, 42, 4_210, 700, 0, 50_113, 366),
    (37, 5, 3, 650, 0, 50_813, 254),
    (41, 30, 3, 520, 0, 51_463, 318),
    (45, 12, 3, 403, 0, 51_983, 231),
    (49, 48, 6_139, 5_810, 0, 52_386, 390),
)
KNOWN_HOUR_HAIKU = (
    (3, 20, 3_288, 0, 0, 0, 342),
    (10, 31, 4_176, 0, 0, 0, 359),
    (11, 2, 2_130, 0, 0, 0, 395),
    (17, 15, 2_745, 0, 0, 0, 361),
    (26, 44, 3_604, 0, 0, 0, 318),
    (34, 9, 2_981, 0, 0, 0, 377),
    (42, 37, 3_412, 0, 0, 0, 405),
    (50, 23, 3_123, 0, 0, 0, 331),
)


def _stream(seed: int, *names: object) -> Random:
    """The random stream of that name: its values are independent of the use of other streams."""
    return Random(":".join(str(part) for part in (seed, *names)))  # noqa: S311


def _poisson(rng: Random, mean: float) -> int:
    """Knuth's multiplication of uniforms, for small means."""
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def _lognormal(rng: Random, median: float, sigma: float, least: int = 1) -> int:
    return max(least, round(rng.lognormvariate(math.log(median), sigma)))


def _uuid(rng: Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _start(rng: Random, day: date) -> datetime:
    hour = rng.choices(range(24), HOUR_PROFILE)[0]
    return datetime.combine(day, time(hour)) + timedelta(seconds=rng.randrange(3600))


def _conversation(rng: Random, traffic: Traffic, first: Request, count: int) -> list[Request]:
    """`count` requests with a growing context; cached tokens are read until they expire, then written again."""
    one_hour = traffic.api_key == REPORTS and first.at.date() >= ONE_HOUR_CACHE_FROM
    searching = traffic.api_key == SUPPORT and first.model.model != HAIKU.model and first.at.date() >= WEB_SEARCH_FROM
    requests, at, context, cached = [], first.at, traffic.prompt_tokens, 0
    for turn in range(count):
        if turn:
            gap = timedelta(seconds=_lognormal(rng, traffic.gap_median_seconds, 1.0, least=3))
            at += gap
            cached = cached if gap < CACHE_LIFETIME[one_hour] else 0
        context = min(context + _lognormal(rng, traffic.input_median, traffic.input_sigma, least=8), LARGEST_CONTEXT)
        output = min(_lognormal(rng, traffic.output_median, 0.8), 16_000)
        searches = rng.choice((0, 0, 0, 1, 2)) if searching else 0
        tail = rng.randint(1, 2 * traffic.uncached_tail) if traffic.is_cached else context
        written = context - cached if traffic.is_cached else 0
        write_5m, write_1h = (0, written) if one_hour else (written, 0)
        tokens = Tokens(tail, write_5m, write_1h, cached, output, searches)
        requests.append(replace(first, at=at, tokens=tokens))
        cached = context if traffic.is_cached else 0
        context = min(context + output, LARGEST_CONTEXT)
    return requests


def _subagent(rng: Random, parent: Request) -> list[Request]:
    """Requests of one subagent, started by `parent`, on the small model."""
    first = replace(
        parent,
        at=parent.at + timedelta(seconds=2),
        model=_model("small", parent.at.date()),
        agent=f"{rng.getrandbits(32):08x}",
    )
    return _conversation(rng, SUBAGENT_TRAFFIC, first, rng.randint(2, 5))


def _session(rng: Random, traffic: Traffic, day: date) -> list[Request]:
    """One session of a key that starts on `day`; its size is heavy-tailed."""
    size = rng.choices(("small", "mid", "large"), traffic.size_weights)[0]
    if day == SPIKE_DAY and traffic.api_key == REPORTS:
        size = "large"
    user = rng.choices(USERS, USER_WEIGHTS)[0] if traffic.api_key in APPLICATION_KEYS else rng.choice(DEVELOPER_IDS)
    session = "" if traffic.api_key == WORKBENCH else _uuid(rng)
    first = Request(_start(rng, day), _model(size, day), traffic.api_key, user, session, Tokens())
    count = min(_lognormal(rng, traffic.requests_median, traffic.requests_sigma), 60)
    requests = _conversation(rng, traffic, first, max(count, 2) if traffic.api_key == DEVELOPERS else count)
    if traffic.api_key == DEVELOPERS:
        if rng.random() < 0.3 and len(requests) > 3:
            requests += _subagent(rng, requests[rng.randrange(1, 4)])
        if day >= HAIKU_FROM:  # the session's title: billed, but not logged
            title = Tokens(no_cache=rng.randint(250, 900), output=rng.randint(8, 60))
            requests.append(
                replace(first, at=first.at + timedelta(seconds=1), model=HAIKU, session="", tokens=title, agent="")
            )
    return requests


def _long_context_sessions(rng: Random) -> list[Request]:
    """Contract reviews: sessions with more than 200k input tokens in every request."""
    requests = []
    for day in (LONG_CONTEXT_FROM, date(2025, 10, 9), date(2025, 10, 29), date(2025, 11, 6), date(2025, 11, 18)):
        start = datetime.combine(day, time(10, rng.randrange(60), rng.randrange(60)))
        first = Request(start, SONNET_4_5, REPORTS, rng.choice(USERS), _uuid(rng), Tokens())
        document = rng.randint(205_000, 290_000)
        is_one_hour = day.month == 11
        write = Tokens(
            no_cache=rng.randint(20, 90),
            write_5m=0 if is_one_hour else document,
            write_1h=document if is_one_hour else 0,
            output=rng.randint(1_500, 4_000),
        )
        requests.append(replace(first, tokens=write))
        for turn in range(1, rng.randint(2, 3)):
            read = Tokens(no_cache=rng.randint(400, 2_500), read=document, output=rng.randint(600, 2_400))
            requests.append(replace(first, at=start + timedelta(seconds=150 * turn), tokens=read))
    return requests


def _known_hour(rng: Random) -> list[Request]:
    """The 21 requests of the known hour: one developer's session and its subagent, and nothing else."""
    first = Request(KNOWN_HOUR, SONNET_4_5, DEVELOPERS, DEVELOPER_IDS[1], _uuid(rng), Tokens())
    agent = f"{rng.getrandbits(32):08x}"
    return [
        replace(
            first, at=KNOWN_HOUR + timedelta(minutes=minute, seconds=second), model=model, agent=name, tokens=tokens
        )
        for model, name, rows in ((SONNET_4_5, "", KNOWN_HOUR_SONNET), (HAIKU, agent, KNOWN_HOUR_HAIKU))
        for minute, second, *counts in rows
        for tokens in [Tokens(*counts)]
    ]


def _in_known_hour(request: Request) -> bool:
    return KNOWN_HOUR <= request.at < KNOWN_HOUR + timedelta(hours=1)


# -------------------- waste


@dataclass(frozen=True)
class Waste:
    """The requests of one key in November and their possible saving; `kind` as in analysis.recommendations.

    `saving_usd` follows only from the plan below and the list prices; 0 if the key was careful.
    """

    kind: str
    api_key: str
    requests: list[Request]
    saving_usd: Decimal


WASTE_DAYS = tuple(date(2025, 11, 1) + timedelta(days=offset) for offset in range(30))
DIGEST_GAP = timedelta(minutes=3)  # between the write of a night and its only read
ONE_SHOT_CALLS, TRIAGE_TALKS = 45, 15
PAUSING_TALKS, BRISK_TALKS, TALK_REQUESTS = 6, 40, 6
LOOP_REQUESTS, LOOP_STOPPED_AFTER = 40, 10
KEEP_ALIVE, PING_EVERY = timedelta(minutes=15), CACHE_LIFETIME[False]


def wastes(seed: int = SEED, careful: bool = False) -> list[Waste]:
    """The five keys that waste money in different ways; with `careful`, the same work without waste."""
    makers = (_digest, _triage, _assistant, _review, _crawler)
    return [make(_stream(seed, "waste", make.__name__), careful) for make in makers]


def _at(day: date, hour: int, rng: Random) -> datetime:
    """A random minute of that hour; no hour of waste is exported by minute."""
    return datetime.combine(day, time(hour, rng.randrange(40), rng.randrange(60)))


def _per_token(model: Model, kind: str) -> Decimal:
    return model.usd_per_mtok[COST_TOKEN_TYPES.index(kind)] / 1_000_000


def _digest(rng: Random, careful: bool) -> Waste:
    """One write each night, read once three minutes later; one-hour writes although five minutes would do."""
    model, saving = HAIKU, Decimal()
    requests: list[Request] = []
    for day in WASTE_DAYS:
        first = Request(_at(day, 2, rng), model, DIGEST, USERS[0], _uuid(rng), Tokens())
        prompt = rng.randint(50_000, 70_000)
        written = Tokens(no_cache=40, write_5m=prompt, output=rng.randint(200, 500))
        if not careful:
            written = written._replace(write_5m=0, write_1h=prompt)
            saving += prompt * (_per_token(model, "input_cache_write_1h") - _per_token(model, "input_cache_write_5m"))
        read = Tokens(no_cache=60, read=prompt, output=rng.randint(200, 500))
        requests += [replace(first, tokens=written), replace(first, at=first.at + DIGEST_GAP, tokens=read)]
    return Waste("cache_policy", DIGEST, requests, saving)


def _triage(rng: Random, careful: bool) -> Waste:
    """Conversations that read their cache, and single calls that write caches which are never read.

    At its first call nobody knows whether a session will go on. With a cache from the second call on, single calls save
    the write, and the second call of a conversation writes what it would have read.
    """
    model, saving = SONNET_4_5, Decimal()
    plain, write_5m, read = (
        _per_token(model, kind) for kind in ("input_no_cache", "input_cache_write_5m", "input_cache_read")
    )
    requests: list[Request] = []
    for number in range(ONE_SHOT_CALLS):
        at = _at(WASTE_DAYS[number % 30], 4, rng)
        prompt = rng.randint(9_000, 14_000)
        tokens = Tokens(no_cache=30, write_5m=prompt, output=rng.randint(20, 60))
        if careful:
            tokens = tokens._replace(no_cache=30 + prompt, write_5m=0)
        else:
            saving += prompt * (write_5m - plain)
        requests.append(Request(at, model, TRIAGE, rng.choice(USERS), _uuid(rng), tokens))
    for number in range(TRIAGE_TALKS):
        gaps = [timedelta(seconds=rng.randint(40, 150)) for _ in range(3)]
        talk = _talk(rng, model, TRIAGE, _at(WASTE_DAYS[number * 2], 6, rng), gaps, 9_000)
        saving -= talk[0].tokens.write_5m * (plain - read)
        requests += talk
    return Waste("cache_writes_never_read", TRIAGE, requests, max(saving, Decimal()))


def _assistant(rng: Random, careful: bool) -> Waste:
    """Fast conversations, and some that pause for longer than five minutes and write everything again each time.

    Keep-alive requests for a quarter of an hour after each request would have kept the cache; so would one-hour writes,
    at their higher price. Which conversations pause is not known beforehand, so both are paid in all of them.
    """
    model, kept_alive, one_hour = HAIKU, Decimal(), Decimal()
    requests: list[Request] = []
    write_5m, write_1h, read, output = (
        _per_token(model, kind)
        for kind in ("input_cache_write_5m", "input_cache_write_1h", "input_cache_read", "output")
    )
    talks: list[tuple[list[timedelta], list[Request]]] = []
    for number in range(PAUSING_TALKS):
        seconds = [rng.randint(360, 540) if not careful else rng.randint(60, 200) for _ in range(TALK_REQUESTS - 1)]
        gaps = [timedelta(seconds=each) for each in seconds]
        talks.append((gaps, _talk(rng, model, ASSISTANT, _at(WASTE_DAYS[number * 5], 5, rng), gaps, 20_000)))
    for number in range(BRISK_TALKS):
        gaps = [timedelta(seconds=rng.randint(30, 120)) for _ in range(2)]
        talks.append((gaps, _talk(rng, model, ASSISTANT, _at(WASTE_DAYS[number % 30], 7, rng), gaps, 25_000)))
    for gaps, talk in talks:
        requests += talk
        held = [request.tokens.context - request.tokens.no_cache for request in talk]
        # each pause lost the cache of the request before
        again = sum(kept for gap, kept in zip(gaps, held, strict=False) if gap > CACHE_LIFETIME[False])
        pinged = sum(gap // PING_EVERY * (kept * read + output) for gap, kept in zip(gaps, held, strict=False))
        in_vain = KEEP_ALIVE // PING_EVERY * (held[-1] * read + output)
        kept_alive += again * (write_5m - read) - pinged - in_vain
        one_hour += again * (write_5m - read) - held[-1] * (write_1h - write_5m)
    return Waste("lost_cache", ASSISTANT, requests, max(kept_alive, one_hour, Decimal()))


def _talk(
    rng: Random, model: Model, api_key: str, at: datetime, gaps: Sequence[timedelta], prompt_tokens: int
) -> list[Request]:
    """A conversation with a growing five-minute cache; after a longer gap, all of it is written again."""
    first = Request(at, model, api_key, rng.choice(USERS), _uuid(rng), Tokens())
    context = prompt_tokens
    requests: list[Request] = []
    for gap in (timedelta(), *gaps):
        at += gap
        cached = context if requests and gap <= CACHE_LIFETIME[False] else 0
        context += rng.randint(300, 900)
        tokens = Tokens(
            no_cache=rng.randint(3, 30), write_5m=context - cached, read=cached, output=rng.randint(80, 300)
        )
        requests.append(replace(first, at=at, tokens=tokens))
    return requests


def _review(rng: Random, careful: bool) -> Waste:
    """Documents just above the long-context limit."""
    model, saving = SONNET_4_5, Decimal()
    requests: list[Request] = []
    for day in WASTE_DAYS[3::5]:
        document = rng.randint(150_000, 190_000) if careful else rng.randint(205_000, 235_000)
        tokens = Tokens(no_cache=document, output=rng.randint(800, 1_500))
        request = Request(_at(day, 8, rng), model, REVIEW, rng.choice(USERS), _uuid(rng), tokens)
        requests.append(request)
        short = sum(count * rate / 1_000_000 for count, rate in zip(tokens, model.usd_per_mtok, strict=False))
        saving += _list_cost([request]) - short
    return Waste("long_context_surcharge", REVIEW, requests, saving)


def _crawler(rng: Random, careful: bool) -> Waste:
    """One session in a loop: growing input with each request, and almost no output."""
    first = Request(_at(WASTE_DAYS[11], 3, rng), HAIKU, CRAWLER, USERS[1], _uuid(rng), Tokens())
    prompt = 3_000
    requests: list[Request] = []
    for number in range(LOOP_REQUESTS):
        prompt += rng.randint(400, 900)
        tokens = Tokens(no_cache=prompt, output=rng.randint(150, 400) if careful else rng.randint(1, 6))
        requests.append(replace(first, at=first.at + number * timedelta(seconds=20), tokens=tokens))
    # the first request has no predecessor, and the ten after it are within the limit
    beyond = [] if careful else requests[LOOP_STOPPED_AFTER + 1 :]
    return Waste("runaway_sessions", CRAWLER, requests, _list_cost(beyond))


def ground_truth(seed: int = SEED, careful: bool = False) -> list[Request]:
    """Every request of the organisation in time order. Deterministic for a seed; `careful` as in `wastes`."""
    requests: list[Request] = []
    for offset in range((END_DAY - FIRST_DAY).days):
        day = FIRST_DAY + timedelta(days=offset)
        for traffic in TRAFFIC:
            rng = _stream(seed, traffic.api_key, day)
            mean = traffic.sessions_per_day * WEEKDAY_PROFILE[day.weekday()] * GROWTH_PER_DAY**offset
            count = _poisson(rng, mean * (6 if day == SPIKE_DAY and traffic.api_key == REPORTS else 1))
            for session in (_session(rng, traffic, day) for _ in range(count)):
                if not any(_in_known_hour(request) for request in session):
                    requests += session
    requests += _long_context_sessions(_stream(seed, "long"))
    requests += _known_hour(_stream(seed, "hour"))
    requests += [request for waste in wastes(seed, careful) for request in waste.requests]
    existing = (r for r in requests if r.at.date() < r.model.retired_on)
    return _fork(_stream(seed, "fork"), sorted(existing, key=lambda r: (r.at, r.model.version, r.api_key, r.session)))


FORK_PREFIX = "ffff"


def _fork(rng: Random, truth: list[Request]) -> list[Request]:
    """Move the end of one November developer session to a session forked from it.

    The new id sorts after the old one, so that the earliest line and the smallest id name the same owner.
    """
    fork = FORK_PREFIX + _uuid(rng)[len(FORK_PREFIX) :]
    for session, requests in _transcript_sessions(truth).items():
        if len(requests) >= 10 and not any(r.agent for r in requests):
            moved = {id(request) for request in requests[-3:]}
            return [replace(r, session=fork) if r.session == session and id(r) in moved else r for r in truth]
    raise AssertionError("this seed gives no session to fork; choose another")


# -------------------- console: usage exports

USAGE_COLUMNS = ("usage_date_utc", "model_version", "api_key", "workspace", "usage_type", "context_window")
STAMPS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%d %H:00", "minute": "%Y-%m-%d %H:%M", "minute:00": "%Y-%m-%d %H:%M:00"}


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _context_window(request: Request) -> str:
    return "> 200k" if request.is_long else "≤ 200k"


def usage_rows(requests: Iterable[Request], grain: str, with_context_window: bool = True) -> list[list[object]]:
    """Rows of a usage export with header, one per interval, model, key and context window."""
    groups = _grouped(
        requests,
        lambda r: (
            r.at.strftime(STAMPS[grain]),
            r.model.version,
            r.api_key,
            r.workspace,
            "standard",
            *((_context_window(r),) if with_context_window else ()),
        ),
    )
    header = [*(USAGE_COLUMNS if with_context_window else USAGE_COLUMNS[:-1])]
    header += [f"usage_{name}" if name != COLUMNS[-1] else name for name in COLUMNS]
    return [list(header), *([*key, *_sum(groups[key])] for key in sorted(groups))]


def _month(request: Request) -> str:
    return f"{request.at:%Y-%m}"


def _month_usage_files(truth: list[Request]) -> dict[str, bytes]:
    """The month exports by day; those of July and August have no context_window."""
    by_month = _grouped(truth, _month)
    return {
        f"console/claude_api_tokens_{month.replace('-', '_')}.csv": _csv(
            usage_rows(by_month[month], "day", month not in MONTHS_WITHOUT_CONTEXT_WINDOW)
        )
        for month in MONTHS
    }


def _day_usage_files(truth: list[Request]) -> dict[str, bytes]:
    """Some days by hour: the same tokens as in the month exports."""
    days = (date(2025, 8, 19), date(2025, 10, 14), SPIKE_DAY, date(2025, 11, 27), KNOWN_HOUR.date())
    return {
        f"console/claude_api_tokens_{day:%Y_%m_%d}.csv": _csv(
            usage_rows(
                (r for r in truth if r.at.date() == day), "hour", f"{day:%Y-%m}" not in MONTHS_WITHOUT_CONTEXT_WINDOW
            )
        )
        for day in days
    }


def _hour_usage_files(truth: list[Request]) -> dict[str, bytes]:
    """Some hours by minute, one with seconds in its timestamps; including the known hour."""
    hours = {datetime(2025, 10, 14, 9): "minute:00", datetime(2025, 11, 27, 14): "minute", KNOWN_HOUR: "minute"}
    return {
        f"console/claude_api_tokens_{hour:%Y_%m_%d_%H}h_UTC.csv": _csv(
            usage_rows((r for r in truth if hour <= r.at < hour + timedelta(hours=1)), grain)
        )
        for hour, grain in hours.items()
    }


OLDER_EXPORT_MADE_AT = datetime(2025, 10, 20, 13, 30)


def _older_usage_file(truth: list[Request]) -> bytes:
    """October as exported on the 20th at 13:30, with an incomplete last day, a BOM and blank lines at the end."""
    known = (r for r in truth if _month(r) == "2025-10" and r.at < OLDER_EXPORT_MADE_AT)
    return b"\xef\xbb\xbf" + _csv(usage_rows(known, "day")) + b"\n\n"


@dataclass(frozen=True)
class Rejected:
    """A planted row that must be rejected. `line` is 1-based and counts the header."""

    path: str
    line: int
    column: str
    reason: str


BAD_DAY = date(2025, 9, 16)


def _damaged_usage_file(truth: list[Request]) -> tuple[str, bytes, list[Rejected]]:
    """A day by hour with two unusable rows; the day's row in the month export has their tokens."""
    path = f"console/claude_api_tokens_{BAD_DAY:%Y_%m_%d}.csv"
    rows = usage_rows((r for r in truth if r.at.date() == BAD_DAY), "hour")
    planted = []
    for index, column, value, reason in (
        (4, "usage_output_tokens", "n/a", "is not a whole number"),
        (9, "usage_input_tokens_cache_read", "-1200", "is negative"),
    ):
        rows[index][rows[0].index(column)] = value
        planted.append(Rejected(path, index + 1, column, reason))
    return path, _csv(rows), planted


# -------------------- console: cost exports

COST_COLUMNS = (
    "usage_date_utc",
    "model",
    "workspace",
    "api_key",
    "usage_type",
    "context_window",
    "token_type",
    "cost_usd",
    "cost_type",
)
# Cells with two rows of equal dimensions; halves round to equal amounts, so the rows are identical.
SPLIT_CELLS = {
    (f"{SPIKE_DAY}", OPUS.display_name, REPORTS, "output"): Decimal("0.3"),
    ("2025-11-12", SONNET_4_5.display_name, REPORTS, "output"): Decimal("0.5"),
}


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def cost_rows(requests: Iterable[Request]) -> list[list[object]]:
    """Rows of a cost export with header, each rounded to the cent.

    Web searches have one row per day: one key searches, and only with its mid-size model. That such a row has model and
    key is an assumption; no public export has one.
    """
    groups = _grouped(
        requests,
        lambda r: (str(r.at.date()), r.model.display_name, r.workspace, r.api_key, "message", _context_window(r)),
    )
    rows: list[list[object]] = []
    for key in sorted(groups):
        day, model, workspace, api_key, usage_type, _ = key
        costs = [sum(column, Decimal()) for column in zip(*(r.kind_costs_usd for r in groups[key]), strict=True)]
        for token_type, cost, count in zip(COST_TOKEN_TYPES, costs, _sum(groups[key]), strict=False):
            if not count:
                continue
            share = SPLIT_CELLS.get((day, model, api_key, token_type), Decimal())
            parts = [cost * share, cost * (1 - share)] if share else [cost]
            rows += [[*key, token_type, _cents(part), "token"] for part in parts]
        if search_cost := sum((r.search_cost_usd for r in groups[key]), Decimal()):
            rows.append([day, model, workspace, api_key, usage_type, "", "", _cents(search_cost), "web_search"])
    return [list(COST_COLUMNS), *rows]


def _cost_file_path(month: str) -> str:
    return f"console/claude_api_cost_{month.replace('-', '_')}.csv"


# -------------------- token_usage_sessions

SHARE_LOGGED = 0.95
SESSIONS_IN_BOTH_LOGS = 3
OLD_SESSION_COLUMNS = (
    "session_id",
    "user_id",
    "session_started_at",
    "last_updated_at",
    "model",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "api_key",
    "workspace",
)
SESSION_COLUMNS = (
    *OLD_SESSION_COLUMNS,
    "context_window",
    "cache_creation_5m_tokens",
    "cache_creation_1h_tokens",
    "web_search_count",
)


def session_row(requests: Sequence[Request]) -> dict[str, Any]:
    """The application's row of one session: one model, sums of its requests, timestamps in naive UTC."""
    first, tokens = requests[0], _sum(requests)
    return {
        "session_id": first.session,
        "user_id": first.user,
        "session_started_at": first.at,
        "last_updated_at": requests[-1].at,
        "model": first.model.version,
        "input_tokens": tokens.no_cache,
        "output_tokens": tokens.output,
        "cache_read_tokens": tokens.read,
        "cache_creation_tokens": tokens.write_5m + tokens.write_1h,
        "api_key": first.api_key,
        "workspace": first.workspace.lower(),
        "context_window": "200k-1M" if first.is_long else "0-200k",
        "cache_creation_5m_tokens": tokens.write_5m,
        "cache_creation_1h_tokens": tokens.write_1h,
        "web_search_count": tokens.searches,
    }


def _logged_sessions(truth: list[Request], seed: int) -> dict[str, list[Request]]:
    """The requests of logged application sessions, by session in order of their start."""
    rng = _stream(seed, "logged")
    sessions = _grouped((r for r in truth if r.api_key in APPLICATION_KEYS), lambda r: r.session)
    return {session: requests for session, requests in sessions.items() if rng.random() < SHARE_LOGGED}


def _with_z(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with timestamps as ISO 8601 text."""
    return {name: f"{v.isoformat()}Z" if isinstance(v, datetime) else v for name, v in row.items()}


def _session_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    return _csv([columns, *([_with_z(row)[name] for name in columns] for row in rows)])


TRUNCATED_SESSION_LINE = 41


def _session_jsonl(rows: Sequence[Mapping[str, Any]], path: str) -> tuple[bytes, Rejected]:
    """JSON lines, gzipped; one line is cut off, and complete on the next line."""
    lines = [json.dumps(_with_z(row)) for row in rows]
    whole = lines[TRUNCATED_SESSION_LINE - 1]
    lines.insert(TRUNCATED_SESSION_LINE - 1, whole[: whole.index("cache_read_tokens")])
    buffer = io.BytesIO()
    with gzip.GzipFile(
        filename="", mode="wb", fileobj=buffer, mtime=0
    ) as zipped:  # neither name nor time in the header
        zipped.write(("\n".join(lines) + "\n").encode())
    return buffer.getvalue(), Rejected(path, TRUNCATED_SESSION_LINE, "", "not valid JSON")


def _session_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    stamp = pa.timestamp("us", tz="UTC")
    texts = {"session_id", "user_id", "model", "api_key", "workspace", "context_window"}
    kinds = {"session_started_at": stamp, "last_updated_at": stamp} | dict.fromkeys(texts, pa.string())
    schema = pa.schema([(name, kinds.get(name, pa.int64())) for name in SESSION_COLUMNS])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), buffer, compression="none", store_schema=False)
    return buffer.getvalue()


def _session_files(
    logged: Mapping[str, list[Request]], in_both: Iterable[list[Request]]
) -> tuple[dict[str, bytes], Rejected, list[str]]:
    """The exports of token_usage_sessions, the rejected line, and the sessions that only a later export has completely.

    At the end of October some sessions are still running: the October file has their first half, the late export all.
    """
    by_month: dict[str, list[list[Request]]] = defaultdict(list)
    for requests in logged.values():
        by_month[_month(requests[0])].append(requests)
    going_on = [requests for requests in by_month["2025-10"] if len(requests) >= 4][-10:]
    halves = {requests[0].session: requests[: len(requests) // 2] for requests in going_on}
    old = [session_row(requests) for month in MONTHS[:2] for requests in by_month[month]]
    new = [
        session_row(halves.get(requests[0].session, requests)) for month in MONTHS[2:4] for requests in by_month[month]
    ]
    late = [
        session_row(requests) for requests in by_month["2025-10"][-30:] if requests in going_on or len(requests) < 3
    ]
    november = sorted(
        (session_row(requests) for requests in [*by_month["2025-11"], *in_both]),
        key=lambda row: (row["session_started_at"], row["session_id"]),
    )
    jsonl_path = "sessions/token_usage_sessions_2025_09_10.jsonl.gz"
    jsonl, rejected = _session_jsonl(new, jsonl_path)
    files = {
        "sessions/token_usage_sessions_2025_07_08.csv": _session_csv(old, OLD_SESSION_COLUMNS),
        jsonl_path: jsonl,
        "sessions/token_usage_sessions_2025_10_late.csv": _session_csv(late, SESSION_COLUMNS),
        "sessions/token_usage_sessions_2025_11.parquet": _session_parquet(november),
    }
    return files, rejected, sorted(halves)


# -------------------- Claude Code transcripts

TRANSCRIPT_MONTH = "2025-11"  # the tool deletes older transcripts
PROJECTS = ("webshop", "invoices", "search-index")
TOOL_VERSION = "2.0.50"
EARLY_TOOL_UNTIL = date(2025, 11, 4)  # some of its responses have no requestId
Line = dict[str, Any]


def _transcript_sessions(truth: Iterable[Request]) -> dict[str, list[Request]]:
    """Requests of the developers' sessions that started within the tool's last 30 days, by session."""
    sessions = _grouped((r for r in truth if r.api_key == DEVELOPERS and r.session), lambda r: r.session)
    return {session: requests for session, requests in sessions.items() if _month(requests[0]) == TRANSCRIPT_MONTH}


@dataclass
class Transcript:
    """The lines of one transcript file as it grows: the main line of a session, or one subagent."""

    rng: Random
    session: str
    project: str
    agent: str = ""
    head: str = ""
    tail: str = ""

    def __post_init__(self) -> None:
        self.lines: list[Line] = []
        self._parent: str | None = None

    def _line(self, kind: str, at: datetime, content: Mapping[str, Any]) -> Line:
        line = {
            "parentUuid": self._parent,
            "isSidechain": bool(self.agent),
            "userType": "external",
            "cwd": f"/srv/example/{self.project}",
            "sessionId": self.session,
            "version": TOOL_VERSION,
            "gitBranch": "main",
            **({"agentId": self.agent} if self.agent else {}),
            "type": kind,
            **content,
            "uuid": _uuid(self.rng),
            "timestamp": f"{at.isoformat(timespec='milliseconds')}Z",
        }
        self._parent = line["uuid"]
        self.lines.append(line)
        return line

    def user(self, at: datetime) -> None:
        """A prompt, or the result of a tool."""
        self._line("user", at, {"message": {"role": "user", "content": [{"type": "text", "text": "synthetic text"}]}})

    def system(self, at: datetime) -> None:
        """A notice that an API call failed and is retried."""
        self._line(
            "system", at, {"subtype": "api_error", "level": "error", "content": "synthetic text", "isMeta": False}
        )

    def api_error(self, at: datetime) -> None:
        """The tool's placeholder for a failed response: model `<synthetic>`, no tokens."""
        message = {
            "id": _uuid(self.rng),
            "type": "message",
            "role": "assistant",
            "model": "<synthetic>",
            "content": [{"type": "text", "text": "synthetic text"}],
            "stop_reason": "stop_sequence",
            "stop_sequence": "",
            "usage": _usage(Tokens()) | {"service_tier": None},
        }
        self._line("assistant", at, {"message": message, "isApiErrorMessage": True})

    def response(self, request: Request, message_id: str, request_id: str) -> None:
        """One response, streamed: one to four lines that repeat its usage, the last with all its output."""
        at = request.at + timedelta(milliseconds=self.rng.randrange(1000))
        parts = self.rng.choices((1, 2, 3, 4), (25, 45, 22, 8))[0]
        for part in range(1, parts + 1):
            is_last = part == parts
            output = request.tokens.output if is_last else 1 + (request.tokens.output - 1) * (part - 1) // (parts + 1)
            block = {"type": "text", "text": "synthetic text"}
            tool = {"type": "tool_use", "id": f"toolu_{_token(self.rng)}", "name": "Read", "input": {}}
            message = {
                "model": request.model.version,
                "id": message_id,
                "type": "message",
                "role": "assistant",
                "content": [tool if part > 1 else block],
                "stop_reason": "tool_use" if is_last else None,
                "stop_sequence": None,
                "usage": _usage(request.tokens._replace(output=output)),
            }
            self._line("assistant", at, {"message": message, **({"requestId": request_id} if request_id else {})})
            at += timedelta(milliseconds=self.rng.randint(150, 1400))

    @property
    def path(self) -> str:
        """The path where the tool writes it."""
        session = f"claude_projects/-srv-example-{self.project}/{self.session}"
        return f"{session}/subagents/agent-{self.agent}.jsonl" if self.agent else f"{session}.jsonl"

    @property
    def content(self) -> bytes:
        """The file."""
        lines = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in self.lines)
        return f"{self.head}{lines}{self.tail}".encode()


def _token(rng: Random) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    return "01" + "".join(rng.choices(alphabet, k=22))


def _usage(tokens: Tokens) -> Line:
    """The provider's usage object."""
    return {
        "input_tokens": tokens.no_cache,
        "cache_creation_input_tokens": tokens.write_5m + tokens.write_1h,
        "cache_read_input_tokens": tokens.read,
        "cache_creation": {"ephemeral_5m_input_tokens": tokens.write_5m, "ephemeral_1h_input_tokens": tokens.write_1h},
        "output_tokens": tokens.output,
        "service_tier": "standard",
    }


def _transcripts(session: str, requests: Sequence[Request], project: str, seed: int) -> list[Transcript]:
    """The transcripts of one session: its own first, then those of its subagents."""
    rng = _stream(seed, "transcript", session)
    by_agent = {agent: Transcript(rng, session, project, agent) for agent in sorted({r.agent for r in requests})}
    for number, request in enumerate(requests):
        is_early = number == 1 and request.at.date() <= EARLY_TOOL_UNTIL
        by_agent[request.agent].user(request.at - timedelta(milliseconds=rng.randint(1200, 2800)))
        by_agent[request.agent].response(request, f"msg_{_token(rng)}", "" if is_early else f"req_{_token(rng)}")
    return list(by_agent.values())


@dataclass(frozen=True)
class TranscriptFiles:
    """The transcripts and their planted oddities."""

    files: dict[str, bytes]
    rejected: Rejected
    synthetic_requests: int
    oddities: dict[str, str]
    sessions_in_both_logs: tuple[str, ...]


def _transcript_files(sessions: Mapping[str, list[Request]], seed: int) -> TranscriptFiles:
    """The developers' transcripts: one file per session and subagent, with oddities of real logs."""
    fork, forked_from = _fork_and_origin(sessions)
    projects = {session: _stream(seed, "project", session).choice(PROJECTS) for session in sessions}
    projects[fork] = projects[forked_from]
    written = {session: _transcripts(session, own, projects[session], seed) for session, own in sessions.items()}

    with_agent = next(transcripts for transcripts in written.values() if len(transcripts) > 1)
    plain = [
        transcripts[0]
        for session, transcripts in written.items()
        if len(transcripts) == 1 and session not in {fork, forked_from} and len(sessions[session]) > 3
    ]
    in_both, (failing, commented, half_written) = plain[:SESSIONS_IN_BOTH_LOGS], plain[SESSIONS_IN_BOTH_LOGS:][:3]
    _plant_fork(written[forked_from][0], written[fork][0])
    _plant_repeat_of_main(*with_agent[:2])
    _plant_api_error(failing, sessions[failing.session][-1].at + timedelta(seconds=20))
    _plant_comment(commented)
    rejected = _plant_half_line(half_written)
    empty = Transcript(_stream(seed, "empty"), _uuid(_stream(seed, "empty")), PROJECTS[0])
    return TranscriptFiles(
        {t.path: t.content for transcripts in [*written.values(), [empty]] for t in transcripts},
        rejected,
        synthetic_requests=1,
        oddities={
            "fork_of": written[forked_from][0].path,
            "fork": written[fork][0].path,
            "sidechain_that_repeats_main": with_agent[1].path,
            "synthetic_api_error": failing.path,
            "comment_line": commented.path,
            "half_written_last_line": half_written.path,
            "empty_file": empty.path,
        },
        sessions_in_both_logs=tuple(transcript.session for transcript in in_both),
    )


def _fork_and_origin(sessions: Mapping[str, list[Request]]) -> tuple[str, str]:
    """The session created by `_fork`, and its origin: the user's latest session before it."""
    fork = next(session for session in sessions if session.startswith(FORK_PREFIX))
    first = sessions[fork][0]
    earlier = [s for s, own in sessions.items() if own[0].user == first.user and own[-1].at < first.at]
    return fork, max(earlier, key=lambda session: sessions[session][-1].at)


def _plant_fork(origin: Transcript, fork: Transcript) -> None:
    """Insert the origin's lines before the fork's own.

    The copy begins with the third response and has only the first line of each: its outputs are too small.
    """
    seen: set[str] = set()
    copied = []
    for line in origin.lines:
        message_id = line["message"].get("id", line["uuid"])
        if message_id not in seen:
            copied.append({**line, "sessionId": fork.session})
        seen.add(message_id)
    fork.lines[:0] = copied[5:]


def _plant_repeat_of_main(main: Transcript, agent: Transcript) -> None:
    """Add a line to the subagent that repeats a call of the main line: the same message.id, another requestId."""
    line = next(line for line in main.lines if line["type"] == "assistant")
    again = {"agentId": agent.agent, "isSidechain": True, "requestId": f"req_{_token(agent.rng)}"}
    agent.lines.insert(0, {**line, **again, "uuid": _uuid(agent.rng)})


def _plant_api_error(transcript: Transcript, at: datetime) -> None:
    """End the session with a failed call: the tool's notice, then its placeholder response."""
    transcript.system(at)
    transcript.api_error(at + timedelta(seconds=4))


def _plant_comment(transcript: Transcript) -> None:
    """Start the file with a `//` line and a summary, which has no timestamp."""
    summary = {"type": "summary", "summary": "synthetic text", "leafUuid": transcript.lines[-1]["uuid"]}
    transcript.head = f"// synthetic text\n{json.dumps(summary)}\n"


def _plant_half_line(transcript: Transcript) -> Rejected:
    """End the file with half a line, a repeat of the last response."""
    last = json.dumps(transcript.lines[-1], separators=(",", ":"))
    transcript.tail = last[: last.index("cache_read_input_tokens")]
    return Rejected(transcript.path, len(transcript.lines) + 1, "", "not valid JSON")


# -------------------- events of the tracker

TRACKER_FILE = "tracker/usage_events_2025_11.jsonl"


def tracker_events(requests: Sequence[Request], seed: int) -> bytes:
    """The tracker's events of the keys that use it: one per request."""
    rng = _stream(seed, "tracker")
    lines = [
        {
            "schema": "token-analytics-tracker/1",
            "event_id": _uuid(rng),
            "timestamp": f"{request.at.isoformat(timespec='microseconds')}Z",
            "conversation_id": request.session,
            "provider": "anthropic",
            "model": request.model.version,
            "user_id": request.user,
            "api_key": request.api_key,
            "workspace": request.workspace,
            "usage": _usage(request.tokens),
            "response_id": f"msg_{_token(rng)}",
        }
        for request in requests
    ]
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()


# -------------------- expectations


def _counts(requests: Iterable[Request]) -> dict[str, int]:
    tokens = _sum(requests)
    return {**dict(zip(COLUMNS, tokens, strict=True)), "total_tokens": tokens.total}


def _decimal(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


def _list_cost(requests: Iterable[Request]) -> Decimal:
    """Exact list cost, including web searches."""
    return sum((sum(r.kind_costs_usd, r.search_cost_usd) for r in requests), Decimal())


def _by_model(requests: Iterable[Request]) -> dict[str, list[Request]]:
    groups = _grouped(requests, lambda r: r.model.model)
    return {model: groups[model] for model in sorted(groups)}


def _expected_console(truth: list[Request]) -> dict[str, Any]:
    return {
        "months": {
            month: {model: _counts(own) for model, own in _by_model(requests).items()}
            for month, requests in _grouped(truth, _month).items()
        },
        "total": _counts(truth),
        "list_cost_usd_by_model": {model: _decimal(_list_cost(own)) for model, own in _by_model(truth).items()},
        "list_cost_usd_by_month": {month: _decimal(_list_cost(own)) for month, own in _grouped(truth, _month).items()},
        "web_search_cost_usd": _decimal(sum((r.search_cost_usd for r in truth), Decimal())),
        "list_cost_usd": _decimal(_list_cost(truth)),
    }


def _expected_billed(costs: Mapping[str, list[list[object]]]) -> dict[str, Any]:
    amounts = {month: [Decimal(str(row[7])) for row in rows[1:]] for month, rows in costs.items()}
    return {
        "months": {
            month: {"cost_rows": len(values), "cost_usd": str(sum(values))} for month, values in amounts.items()
        },
        "cost_rows": sum(map(len, amounts.values())),
        "cost_usd": str(sum(map(sum, amounts.values()), Decimal())),
    }


def _expected_transcripts(requests: list[Request], planted: TranscriptFiles) -> dict[str, Any]:
    models = {
        model: {"requests": len(own), **_counts(own), "list_cost_usd": _decimal(_list_cost(own))}
        for model, own in _by_model(requests).items()
    }
    nothing = {"requests": planted.synthetic_requests, **_counts([]), "list_cost_usd": "0"}
    return {
        "sessions": len({r.session for r in requests}),
        "requests": len(requests) + planted.synthetic_requests,
        "models": {"<synthetic>": nothing, **models},
        "total": _counts(requests),
    }


def _expected_known_hour(truth: list[Request]) -> dict[str, Any]:
    hour = [r for r in truth if _in_known_hour(r)]
    tokens = _sum(hour)
    return {
        "usage_hour": f"{KNOWN_HOUR:%Y-%m-%d %H:%M}",
        "api_key": DEVELOPERS,
        "rows": len({(r.at.replace(second=0), r.model.version) for r in hour}),
        "total": _counts(hour),
        "cache_write_tokens": tokens.write_5m + tokens.write_1h,
        "models": {
            model: {
                **_counts(own),
                "input_and_write_tokens": _sum(own).context - _sum(own).read,
                "list_cost_usd": _decimal(_list_cost(own)),
            }
            for model, own in _by_model(hour).items()
        },
        "list_cost_usd": _decimal(_list_cost(hour)),
    }


# -------------------- sample

NOTES = b"synthetic text: a note that somebody left among the exports; no usage in it\n"


@dataclass(frozen=True)
class Sample:
    """The files below landing/ by relative path, and the expected results of a run."""

    files: dict[str, bytes]
    expected: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write `folder`/landing and `folder`/expected.json.

        Raises:
            FileExistsError: landing has files that do not belong to the sample; synthetic and real data never mix.

        """
        landing = folder / "landing"
        foreign = [path for path in landing.rglob("*") if path.is_file() and not self._holds(path.relative_to(landing))]
        if foreign:
            raise FileExistsError(f"{landing} holds files that are not of the sample: choose another folder")
        for name, content in self.files.items():
            path = landing / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (folder / "expected.json").write_text(json.dumps(self.expected, indent=1) + "\n", encoding="utf-8")

    def _holds(self, path: Path) -> bool:
        return path.as_posix() in self.files


def build(seed: int = SEED, careful: bool = False) -> Sample:
    """The whole sample in memory: the same bytes for a seed (gzip and Parquet: with the same zlib and pyarrow).

    With `careful`, the keys of `wastes` waste nothing: the control group of the recommendations.
    """
    truth = ground_truth(seed, careful)
    costs = {month: cost_rows(requests) for month, requests in _grouped(truth, _month).items()}
    developer_sessions = _transcript_sessions(truth)
    transcribed = [request for requests in developer_sessions.values() for request in requests]
    transcripts = _transcript_files(developer_sessions, seed)
    logged = _logged_sessions(truth, seed)
    tracked = [request for request in truth if request.api_key in TRACKED_KEYS]
    tracked_sessions = {request.session for request in tracked}
    in_both = [developer_sessions[session] for session in transcripts.sessions_in_both_logs]
    session_files, bad_session_line, completed = _session_files(logged, in_both)
    damaged_path, damaged, bad_rows = _damaged_usage_file(truth)
    files = {
        **_month_usage_files(truth),
        **_day_usage_files(truth),
        **_hour_usage_files(truth),
        damaged_path: damaged,
        "console/2025-10-20/claude_api_tokens_2025_10.csv": _older_usage_file(truth),
        **{_cost_file_path(month): _csv(rows) for month, rows in costs.items()},
        **session_files,
        **transcripts.files,
        TRACKER_FILE: tracker_events(tracked, seed),
        "notes.txt": NOTES,
    }
    files["console/september, for finance.csv"] = files["console/claude_api_tokens_2025_09.csv"]
    in_logs = [*(r for requests in logged.values() for r in requests), *transcribed, *tracked]
    expected = {
        "seed": seed,
        "console": _expected_console(truth),
        "billed": _expected_billed(costs),
        "transcripts": _expected_transcripts(transcribed, transcripts),
        "sessions": {
            "sessions": len(logged) + len(developer_sessions) + len(tracked_sessions),
            "in_token_usage_sessions": len(logged) + len(in_both),
            "in_transcripts": len(developer_sessions),
            "in_tracker_events": len(tracked_sessions),
            "in_both": list(transcripts.sessions_in_both_logs),
            "completed_by_a_later_export": completed,
            "total": _counts(in_logs),
            "list_cost_usd": _decimal(_list_cost(in_logs)),
        },
        "tracker": {
            "requests": len(tracked),
            "total": _counts(tracked),
            "list_cost_usd": _decimal(_list_cost(tracked)),
        },
        "savings": [
            {"kind": waste.kind, "api_key": waste.api_key, "observed_usd": _decimal(waste.saving_usd)}
            for waste in wastes(seed, careful)
        ],
        "known_hour": _expected_known_hour(truth),
        "spike_day": str(SPIKE_DAY),
        "rejected_rows": [
            {"path": row.path, "line": row.line, "column": row.column, "reason": row.reason}
            for row in (*bad_rows, bad_session_line, transcripts.rejected)
        ],
        "unrecognised_files": ["notes.txt"],
        "oddities": transcripts.oddities,
    }
    return Sample({path: files[path] for path in sorted(files)}, expected)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sample to the folder in the first argument, by default data/sample; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    folder = Path(given[0] if given else "data/sample")
    sample = build()
    try:
        sample.write(folder)
    except FileExistsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    size = sum(map(len, sample.files.values()))
    sys.stdout.write(f"{len(sample.files)} files, {size / 1e6:.2f} MB in {folder / 'landing'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
