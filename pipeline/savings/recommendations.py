"""Recommendations and what each would have saved: analysis.recommendations.

Belongs here: the kinds of savings, the order of overlapping ones, their texts, and a query that reproduces each. Does
not belong here: the alternative costs of a request (marts.request_replays), prices (rates, repricing), contracts on the
bill (pricing).

Savings need logs of single requests: the gaps between them, and the tokens that each wrote, read and returned. Each
kind is computed separately for each key and model. Its amount is what a rule that does not know the future would have
saved on all requests of the key and model (`WAYS`: the rules of each kind). What it would have saved on the right ones
only, which is known afterwards, stands beside it as an upper bound. A rule that would have cost more is no saving. A
rule that is chosen on the earlier half of the days is checked on the later half (`_checked`).

Where kinds change the same requests, the largest saving is applied first, and the next one counts only requests that
are still unchanged. No request is saved twice, and the rows never add up to more than the separate savings.
docs/savings.md has the rules and their assumptions.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb
import pyarrow as pa

from pipeline.analysis.measures import COUNT, MONEY, TEXT, as_table, described_field, described_schema
from pipeline.reference import rates
from pipeline.savings import repricing
from pipeline.settings import ConfigurationError, Settings, WhatIf
from pipeline.store.computed import table_or_reason
from pipeline.store.connection import Row, rows_of
from pipeline.store.sqlfiles import literal, sql
from pipeline.words import counted, usd

MONTH_DAYS = 30
LEAST_DAYS, LEAST_REQUESTS = 7, 20  # with fewer of either, the confidence is one level lower
# Kinds with the same saving are applied in this order.
KINDS = (
    "cache_policy",
    "cache_writes_never_read",
    "lost_cache",
    "long_context_surcharge",
    "runaway_sessions",
)
# The rules of each kind: their columns of the replay, which hold the saving of each request.
WAYS = {
    "cache_policy": {"none": "none_usd", "5m": "only_5m_usd", "1h": "only_1h_usd"},
    "cache_writes_never_read": {
        "first request": "delayed_usd",
        "subagents": "without_in_subagents_usd",
        "single calls": "without_in_single_calls_usd",
    },
    "lost_cache": {"keep-alive": "kept_alive_usd", "1h": "hour_usd"},
    "long_context_surcharge": {"": "long_usd"},
    "runaway_sessions": {"": "runaway_usd"},
}
# Saving of the requests on which a rule pays off, which is known only afterwards.
_HINDSIGHT = {"cache_writes_never_read": "unread_usd", "lost_cache": "lost_usd"}
_GROUP = ("provider", "model", "api_key", "workspace", "project")
_LEVELS = ("low", "medium", "high")
_QUANTUM = Decimal("1e-12")

SCHEMA = described_schema(
    "Recommended changes and their savings, one row per kind, key and model: savings by rank, then questions of the "
    "user (what_if) and usage that could not be assessed (unavailable). saving_usd_per_month adds up over rows, "
    "because no request counts twice; standalone_usd_per_month does not",
    [
        described_field("rank", COUNT, "1 saves most; null if the row is no saving"),
        described_field(
            "kind",
            TEXT,
            "cache_policy: other cache writes for a key and model; cache_writes_never_read; lost_cache: sessions whose "
            "cache expired in a pause; long_context_surcharge; runaway_sessions: growing input without output; "
            "what_if: a question of the user, no saving; would_cost_more: a waste that only hindsight could avoid; "
            "seat: transcripts that look covered by a subscription; unavailable: usage that could not be assessed; "
            "none: no saving found",
        ),
        described_field("subject", TEXT, "Key (or project, without a key), workspace and model; name of a what_if"),
        described_field(
            "saving_usd_per_month",
            MONEY,
            "Saving that is left after the rows applied before it, in USD, by a rule that does not know the future: "
            "observed_saving_usd x 30 / window_days, but not more than observed where active_days is less than 7; null "
            "if the row is no saving",
        ),
        described_field(
            "confidence",
            TEXT,
            "high: arithmetic on actual costs; medium: depends on the replay of the cache, or on a prompt that can be "
            "cut; low: depends on a threshold, or held_out_usd is null or not above 0. One level lower (not below low) "
            "if the key and model were used on less than 7 days, less than 20 requests are affected, or the last use "
            "is more than 30 days before the end of the window",
        ),
        described_field("evidence", TEXT, "The observed numbers"),
        described_field(
            "sql",
            TEXT,
            "Query on the published database that reproduces observed_saving_usd and saving_usd_per_month",
        ),
        described_field("action", TEXT, "What to change; null if the row is no saving"),
        described_field("applied_order", COUNT, "Order of application: by standalone saving, largest first"),
        described_field(
            "standalone_usd_per_month", MONEY, "Saving if only this row is applied, USD: such savings do not add up"
        ),
        described_field(
            "combined_usd_per_month",
            MONEY,
            "Saving of all rows together, USD: the sum of saving_usd_per_month, the same in each row",
        ),
        described_field("observed_saving_usd", MONEY, "Saving within the window, USD, not scaled to a month"),
        described_field("observed_standalone_usd", MONEY, "Standalone saving within the window, USD"),
        described_field(
            "what_if_usd_per_month", MONEY, "For a what_if: new cost - cost, USD per month; negative is cheaper"
        ),
        described_field(
            "hindsight_usd_per_month",
            MONEY,
            "Upper bound of standalone_usd_per_month, USD: the saving if it had been known which writes nobody reads, "
            "or which sessions pause; null for kinds that need no such knowledge",
        ),
        described_field(
            "held_out_usd",
            MONEY,
            "Saving on the later half of the days by the rule that was best on the earlier half, USD; 0 if none saved "
            "there, null with a single day of use",
        ),
        described_field("affected_cost_usd", MONEY, "Cost of the affected requests within the window, USD"),
        described_field("requests", COUNT, "Number of affected requests"),
        described_field("provider", TEXT, "Provider; null if the row is not about one key and model"),
        described_field("model", TEXT, "Model id; null where provider is"),
        described_field("api_key", TEXT, "API key; '' if no log states it"),
        described_field("workspace", TEXT, "Workspace; '' if no log states it"),
        described_field("project", TEXT, "Project of requests without an api_key; else ''"),
        described_field(
            "first_usage_date",
            pa.date32(),
            "First UTC day of the window: of a saving, on which its key and model were used",
        ),
        described_field("last_usage_date", pa.date32(), "Last UTC day of the window, in the same way"),
        described_field("window_days", COUNT, "UTC days from the first to the last, including days without usage"),
        described_field("active_days", COUNT, "Days of the window on which the key and model were used"),
        described_field("last_seen", pa.date32(), "Last UTC day with an affected request"),
        described_field("status", TEXT, "ok: a saving; what_if; unavailable (also of would_cost_more and seat); none"),
    ],
)
SCHEMAS: dict[str, pa.Schema] = {"recommendations": SCHEMA}

Group = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Requests of one key and model that are affected by the same kinds, and the saving of each kind in USD."""

    kinds: frozenset[str]
    saved_usd: Mapping[str, Decimal]


@dataclass(frozen=True)
class Applied:
    """A kind of saving for one key and model, in USD within the window.

    `standalone_usd` is the saving of this kind alone. `saving_usd` counts only requests that none of `after` affects;
    it is never larger.
    """

    kind: str
    standalone_usd: Decimal
    saving_usd: Decimal
    after: tuple[str, ...]


def apply(parts: Sequence[Part], least_usd: Decimal = Decimal(0)) -> list[Applied]:
    """The savings of one key and model, largest first, without those below `least_usd` alone."""
    alone = {kind: sum((part.saved_usd[kind] for part in parts if kind in part.kinds), Decimal(0)) for kind in KINDS}
    worthwhile = [kind for kind in KINDS if alone[kind] > 0 and alone[kind] >= least_usd]
    savings: list[Applied] = []
    applied: list[str] = []
    for kind in sorted(worthwhile, key=lambda kind: (-alone[kind], KINDS.index(kind))):
        left = [part.saved_usd[kind] for part in parts if kind in part.kinds and not part.kinds & set(applied)]
        saving = max(Decimal(0), min(sum(left, Decimal(0)), alone[kind]))
        savings.append(Applied(kind, alone[kind], saving, tuple(applied)))
        if saving > 0:
            applied.append(kind)
    return savings


@dataclass(frozen=True)
class Window:
    """The analysed days, and the replay query for them."""

    first_day: dt.date
    last_day: dt.date
    settings: Settings

    @property
    def days(self) -> int:
        """Number of UTC days, including days without usage."""
        return (self.last_day - self.first_day).days + 1

    def replay(self, only: str = "") -> str:
        """The query for the savings of each request in the window; `only` is an additional condition."""
        thresholds = self.settings.savings
        return sql(
            "savings/replay",
            only=only,
            first_day=str(self.first_day),
            last_day=str(self.last_day),
            runaway_requests=str(thresholds.runaway_requests),
            runaway_output_tokens=str(thresholds.runaway_output_tokens),
            keep_alive_seconds=str(thresholds.keep_alive_minutes * 60),
            long_context_trim=f"{thresholds.long_context_trim:f}",
        ).rstrip()


def recommendations(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """The table analysis.recommendations; schema `SCHEMA`; without savings, one row says so.

    Raises:
        ConfigurationError: a what_if names a model that was never used or has no price.

    """
    totals = rows_of(
        connection, sql("savings/window", runaway_output_tokens=str(settings.savings.runaway_output_tokens))
    )[0]
    window = None
    rows: list[Row] = []
    if totals["first_day"] is not None:
        days = settings.savings.days
        first = totals["first_day"]
        if days is not None:
            first = max(first, totals["last_day"] - dt.timedelta(days=days - 1))
        window = Window(first, totals["last_day"], settings)
        rows = _savings(connection, window)
    rows += [_what_if(connection, settings, name, question) for name, question in sorted(settings.what_if.items())]
    rows += _unavailable(connection, totals, settings)
    if window is not None:
        for row in rows:
            row |= {
                "first_usage_date": row.get("first_usage_date", window.first_day),
                "last_usage_date": row.get("last_usage_date", window.last_day),
                "window_days": row.get("window_days", window.days),
            }
    return as_table("recommendations", SCHEMA, rows)


@dataclass(frozen=True)
class Choice:
    """The best rule of a kind for a key and model, and its check; amounts in USD within the window."""

    way: str
    saved_usd: Mapping[str, Decimal]  # by each rule that has a price
    hindsight_usd: Decimal | None
    held_out_usd: Decimal | None

    @property
    def best_usd(self) -> Decimal:
        """Saving of the best rule; negative where every rule would have cost more."""
        return self.saved_usd.get(self.way, Decimal(0))


@dataclass(frozen=True)
class Subject:
    """A key and model: its requests by the rules that affect them, its figures, and the best rule of each kind."""

    group: Group
    signatures: Sequence[Row]
    measured: Row
    choices: Mapping[str, Choice]

    @property
    def days(self) -> int:
        """UTC days from the first to the last with usage."""
        first, last = self.measured["first_usage_date"], self.measured["last_usage_date"]
        return int((last - first).days) + 1

    @property
    def scaled_days(self) -> int:
        """Days for which the observed amount stands; with few days of use, a month has at most what was observed."""
        return self.days if self.measured["active_days"] >= LEAST_DAYS else max(MONTH_DAYS, self.days)

    def per_month(self, observed_usd: Decimal) -> Decimal:
        """USD in the window, scaled to 30 days."""
        return (observed_usd * MONTH_DAYS / self.scaled_days).quantize(_QUANTUM)

    def affected(self, kind: str) -> list[Row]:
        """The signatures whose requests the best rule of a kind changes."""
        return [row for row in self.signatures if row[_flag(kind, self.choices[kind].way)]]

    def parts(self) -> list[Part]:
        """Its requests by the kinds that affect them, each by its best rule."""
        columns = {kind: WAYS[kind][choice.way] for kind, choice in self.choices.items()}
        return [
            Part(
                frozenset(kind for kind in KINDS if row[_flag(kind, self.choices[kind].way)]),
                {kind: row[column] or Decimal(0) for kind, column in columns.items()},
            )
            for row in self.signatures
        ]


def _flag(kind: str, way: str) -> str:
    return "in_cache_policy" if kind == "cache_policy" else f"in_{WAYS[kind][way].removesuffix('_usd')}"


def _choice(kind: str, signatures: Sequence[Row], measured: Row) -> Choice:
    saved = _saved_by_way(kind, signatures)
    best = max(saved, key=lambda way: saved[way], default=next(iter(WAYS[kind])))
    hindsight = max(measured[_HINDSIGHT[kind]], saved.get(best, Decimal(0))) if kind in _HINDSIGHT else None
    return Choice(best, saved, hindsight, _checked(kind, signatures))


def _checked(kind: str, signatures: Sequence[Row]) -> Decimal | None:
    """Saving on the later half of the days by the rule that is best on the earlier half; None without two halves."""
    earlier, later = ([row for row in signatures if row["is_later"] == half] for half in (False, True))
    if not earlier or not later:
        return None
    chosen = _saved_by_way(kind, earlier)
    best = max(chosen, key=lambda way: chosen[way], default=None)
    if best is None or chosen[best] <= 0:
        return Decimal(0)
    return _saved_by_way(kind, later).get(best)


def _saved_by_way(kind: str, signatures: Sequence[Row]) -> dict[str, Decimal]:
    """The saving of each rule of a kind that has a price; a rule is for all requests of the key and model.

    Usage without a cache cannot be replayed: token counts do not show how much of a prompt repeats.
    """
    saved = {}
    for way, column in WAYS[kind].items():
        values = [row[column] for row in signatures]
        if None not in values:
            saved[way] = sum(values, Decimal(0))
    return saved


def _savings(connection: duckdb.DuckDBPyConnection, window: Window) -> list[Row]:
    """One row per kind, key and model that a rule makes cheaper, by rank; then those that no rule makes cheaper."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE savings_replay AS {window.replay()}")
    try:
        signatures = rows_of(connection, sql("savings/signatures"))
        evidence = {_group(row): row for row in rows_of(connection, sql("savings/evidence"))}
    finally:
        connection.execute("DROP TABLE temp.savings_replay")
    by_group: dict[Group, list[Row]] = defaultdict(list)
    for row in signatures:
        by_group[_group(row)].append(row)
    rows: list[Row] = []
    others: list[Row] = []
    for group, own in by_group.items():
        choices = {kind: _choice(kind, own, evidence[group]) for kind in KINDS}
        subject = Subject(group, own, evidence[group], choices)
        floor = Decimal(str(window.settings.savings.floor_usd)) * subject.scaled_days / MONTH_DAYS
        savings = apply(subject.parts(), floor)
        if savings and _looks_like_a_seat(subject, window.settings):
            others.append(_on_a_seat(subject, savings))
            continue
        rows += [_row(window, subject, applied) for applied in savings]
        others += [
            _would_cost_more(subject, kind)
            for kind, choice in choices.items()
            if choice.best_usd <= 0
            and choice.hindsight_usd is not None
            and choice.hindsight_usd >= max(floor, _QUANTUM)
        ]
    rows.sort(
        key=lambda row: (-row["observed_standalone_usd"], KINDS.index(row["kind"]), row["subject"], row["provider"])
    )
    combined = sum((row["saving_usd_per_month"] for row in rows), Decimal(0))
    for number, row in enumerate(rows, 1):
        row |= {"applied_order": number, "combined_usd_per_month": combined}
    rows.sort(key=lambda row: (-row["saving_usd_per_month"], row["applied_order"]))
    for number, row in enumerate(rows, 1):
        row["rank"] = number
    return (rows or [_nothing_found(window)]) + others


def _row(window: Window, subject: Subject, applied: Applied) -> Row:
    """A row for a saving, with its texts and query."""
    kind, measured, affected = applied.kind, subject.measured, subject.affected(applied.kind)
    choice = subject.choices[kind]
    words = _WORDS[kind](measured, window.settings, choice)
    evidence = words.evidence
    if choice.hindsight_usd is not None:
        evidence += f" If it had been known beforehand {_UNKNOWN[kind]}: {usd(choice.hindsight_usd)}."
    if applied.saving_usd < applied.standalone_usd:
        earlier = ", ".join(applied.after)
        evidence += f" Alone it saves {usd(applied.standalone_usd)}; {usd(applied.saving_usd)} is left after {earlier}."
    evidence += f" {_window_words(subject)} {_held_out_words(choice)}"
    requests = sum(row["requests"] for row in affected)
    idle_days = (window.last_day - measured["last_usage_date"]).days
    level = _LEVELS.index(words.confidence)
    if measured["active_days"] < LEAST_DAYS or requests < LEAST_REQUESTS or idle_days > MONTH_DAYS:
        level = max(0, level - 1)
    if choice.held_out_usd is None or choice.held_out_usd <= 0:
        level = 0
    return _of_subject(subject) | {
        "kind": kind,
        "saving_usd_per_month": subject.per_month(applied.saving_usd),
        "confidence": _LEVELS[level],
        "evidence": evidence,
        "sql": _query(window, subject, applied),
        "action": words.action,
        "standalone_usd_per_month": subject.per_month(applied.standalone_usd),
        "observed_saving_usd": applied.saving_usd,
        "observed_standalone_usd": applied.standalone_usd,
        "hindsight_usd_per_month": None if choice.hindsight_usd is None else subject.per_month(choice.hindsight_usd),
        "held_out_usd": choice.held_out_usd,
        "affected_cost_usd": sum((row["cost_usd"] for row in affected), Decimal(0)),
        "requests": requests,
        "last_seen": max(row["last_seen"] for row in affected),
        "status": "ok",
    }


def _of_subject(subject: Subject) -> Row:
    """The columns that name a key and model, and the days on which it was used."""
    return {
        **dict(zip(_GROUP, subject.group, strict=True)),
        "subject": _subject(subject.group),
        "window_days": subject.days,
        **{name: subject.measured[name] for name in ("first_usage_date", "last_usage_date", "active_days")},
    }


def _query(window: Window, subject: Subject, applied: Applied) -> str:
    """The replay query for one key and model on the published tables, after the kinds applied before."""
    names = dict(zip(_GROUP, subject.group, strict=True))
    only = " ".join(f"and {name} = {literal(names[name])}" for name in _GROUP if name != "project")

    def touched(kind: str) -> str:
        column = WAYS[kind][subject.choices[kind].way]
        return "in_cache_policy" if kind == "cache_policy" else f"coalesce({column} <> 0, false)"

    return sql(
        "savings/reproduce",
        title=" ".join(f"{applied.kind}, {_subject(subject.group)}".split()),
        replay=window.replay(only),
        saving=WAYS[applied.kind][subject.choices[applied.kind].way],
        taken=" or ".join(touched(kind) for kind in applied.after) or "false",
        touched=touched(applied.kind),
        project=literal(names["project"]),
        first_day=str(window.first_day),
        last_day=str(window.last_day),
        window_days=str(subject.scaled_days),
    )


# ---------- texts


@dataclass(frozen=True)
class Words:
    """The texts of a row, and its confidence before the number of days and requests lowers it."""

    action: str
    evidence: str
    confidence: str


# What a rule does not know beforehand.
_UNKNOWN = {
    "cache_writes_never_read": "which writes nobody reads",
    "lost_cache": "which sessions pause",
}


def _policy_words(row: Row, settings: Settings, choice: Choice) -> Words:
    actions = {
        "none": "Do not cache: send the prompts as plain input.",
        "5m": "Write five-minute caches instead of one-hour ones.",
        "1h": "Write one-hour caches instead of five-minute ones.",
    }
    labels = {"none": "without a cache", "5m": "with five-minute writes", "1h": "with one-hour writes"}
    cost = row["policy_cost_usd"]
    others = "; ".join(f"{labels[way]} {usd(cost - saved)}" for way, saved in choice.saved_usd.items())
    return Words(
        actions[choice.way],
        f"{counted(row['policy_requests'], 'request')} with a cache cost {usd(cost)}: {row['write_5m_tokens']:,} "
        f"tokens were written for five minutes, {row['write_1h_tokens']:,} for one hour, and {row['read_tokens']:,} "
        "read. "
        f"Replayed by the gaps between the requests of a session: {others}.",
        "high" if choice.way == "none" else "medium",
    )


def _unread_words(row: Row, settings: Settings, choice: Choice) -> Words:
    actions = {
        "first request": "Write the cache from the second request of a session on, not with the first one.",
        "subagents": "Do not cache the prompts of subagents: remove the cache breakpoint from these calls.",
        "single calls": "Do not cache calls outside of a session: remove the cache breakpoint from them.",
    }
    return Words(
        actions[choice.way],
        f"{_unread(row)} In all of its {_CALLS[choice.way]}, this would have saved {usd(choice.best_usd)}, after "
        f"the reads that it would have lost.{_sessions(row, 'unread')}",
        "medium",
    )


_CALLS = {
    "first request": "sessions",
    "subagents": "subagents",
    "single calls": "calls outside of a session",
    "keep-alive": "sessions",
    "1h": "sessions",
}


def _unread(row: Row) -> str:
    return (
        f"{counted(row['unread_requests'], 'request')} wrote {row['unread_tokens']:,} tokens to a cache that no later "
        f"request read before it expired; as plain input they cost {usd(row['unread_usd'])} less."
    )


def _lost_words(row: Row, settings: Settings, choice: Choice) -> Words:
    remedies = {
        "1h": ("Write one-hour caches in sessions.", "one-hour writes"),
        "keep-alive": (
            "Keep the cache of sessions alive: send a request that reads it just before it expires.",
            f"keep-alive requests for {settings.savings.keep_alive_minutes} minutes after every request",
        ),
    }
    action, remedy = remedies[choice.way]
    return Words(
        action,
        f"{_lost(row)} In all of its sessions, {remedy} would have saved {usd(choice.best_usd)} after their own cost."
        f"{_sessions(row, 'lost')}",
        "medium",
    )


def _lost(row: Row) -> str:
    return (
        f"In {counted(row['lost_sessions'], 'session')} {counted(row['losses'], 'pause')} outlasted the cache: "
        f"{row['lost_tokens']:,} tokens were written again, {usd(row['rewritten_usd'])} more than reading them."
    )


def _long_words(row: Row, settings: Settings, *_: object) -> Words:
    trim = settings.savings.long_context_trim
    return Words(
        "Keep these prompts below the long-context limit: compact or trim them.",
        f"{counted(row['long_requests'], 'request')} with up to {row['long_input_tokens']:,} input tokens would be "
        f"below the limit if {trim:.0%} of the prompt were cut; the surcharge on them is {usd(row['long_usd'])}. The "
        "cost of the cut tokens at the base rates is not counted. The surcharge on all "
        f"{counted(row['surcharged_requests'], 'request')} above the limit is {usd(row['surcharge_usd'])}.",
        "medium",
    )


def _runaway_words(row: Row, settings: Settings, *_: object) -> Words:
    after, most = settings.savings.runaway_requests, settings.savings.runaway_output_tokens
    return Words(
        f"Stop a session after {after} requests in a row without output.",
        f"{counted(row['runaway_sessions'], 'session')} went on with growing input after {after} requests of at most "
        f"{most} output tokens: {counted(row['runaway_requests'], 'further request')}, "
        f"{row['runaway_input_tokens']:,} tokens in and {row['runaway_output_tokens']:,} out."
        f"{_sessions(row, 'runaway')}",
        "low",
    )


def _window_words(subject: Subject) -> str:
    measured = subject.measured
    first, last = measured["first_usage_date"], measured["last_usage_date"]
    used = f"on {measured['active_days']:,} of the {subject.days:,} days from {first} to {last}"
    if subject.days == 1:
        used = f"on {first} only"
    if subject.scaled_days > subject.days:
        return f"Used {used}: too few days to scale, so a month has what was observed."
    return f"Used {used}; a month is scaled from these."


def _held_out_words(choice: Choice) -> str:
    if choice.held_out_usd is None:
        return "A single day of use cannot be checked against another."
    if choice.held_out_usd > 0:
        return f"Chosen on the earlier half of these days, it saves {usd(choice.held_out_usd)} on the later half."
    return "The earlier half of these days, by itself, does not lead to a saving on the later half."


_WORDS: Mapping[str, Callable[[Row, Settings, Choice], Words]] = {
    "cache_policy": _policy_words,
    "cache_writes_never_read": _unread_words,
    "lost_cache": _lost_words,
    "long_context_surcharge": _long_words,
    "runaway_sessions": _runaway_words,
}


def _sessions(row: Row, short: str) -> str:
    names = row[f"{short}_examples"]
    return f" Most expensive sessions: {', '.join(names)}." if names else ""


def _subject(group: Group) -> str:
    named = dict(zip(_GROUP, group, strict=True))
    parts = [f"{name}={named[name]}" for name in ("api_key", "project", "workspace") if named[name]]
    return ", ".join([*(parts or ["no key stated"]), f"model={named['model']}"])


# ---------- rows that are no savings


def _nothing_found(window: Window) -> Row:
    return {
        "kind": "none",
        "subject": "all requests",
        "evidence": f"No change would save {usd(window.settings.savings.floor_usd)} a month (checked: "
        f"{', '.join(KINDS)}).",
        "sql": _READS_REQUESTS,
        "status": "none",
    }


def _looks_like_a_seat(subject: Subject, settings: Settings) -> bool:
    """Whether the transcripts write one-hour caches only, as on a subscription, and nobody stated how they are paid."""
    named = dict(zip(_GROUP, subject.group, strict=True))
    is_stated = bool(named["api_key"]) or named["project"] in settings.billing_mode.projects
    return bool(subject.measured["looks_like_a_seat"]) and not is_stated


def _on_a_seat(subject: Subject, savings: Sequence[Applied]) -> Row:
    """The row of transcripts that look covered by a subscription: what they might save is no claim."""
    largest = savings[0]
    choice = f"{largest.kind} {usd(subject.per_month(largest.standalone_usd))}"
    return _of_subject(subject) | {
        "kind": "seat",
        "evidence": f"{_subject(subject.group)}: this would save nothing on a seat. "
        "The transcripts write one-hour caches only, as those of a "
        "subscription do, and no setting says how they are paid. If they are paid by usage, state billing_mode: the "
        f"largest saving would be {choice} a month. {_window_words(subject)}",
        "sql": sql("savings/coverage").rstrip(),
        "status": "unavailable",
    }


def _would_cost_more(subject: Subject, kind: str) -> Row:
    """The row of a waste that shows only afterwards: no rule of its kind would have made the key and model cheaper."""
    choice = subject.choices[kind]
    found = (_lost if kind == "lost_cache" else _unread)(subject.measured)
    rules = "; ".join(
        f"{_RULES[way]} would have cost {usd(-saved)} more" for way, saved in choice.saved_usd.items() if saved < 0
    )
    return _of_subject(subject) | {
        "kind": "would_cost_more",
        "evidence": f"{_subject(subject.group)}, {kind.replace('_', ' ')}: no saving. {found} "
        f"If it had been known beforehand {_UNKNOWN[kind]}: {usd(choice.hindsight_usd)}. Without that, "
        f"{rules or 'no rule changes it'}. {_window_words(subject)}",
        "sql": sql("savings/coverage").rstrip(),
        "hindsight_usd_per_month": subject.per_month(choice.hindsight_usd or Decimal(0)),
        "held_out_usd": choice.held_out_usd,
        "status": "unavailable",
    }


_RULES = {
    "first request": "caching from the second request of every session on",
    "subagents": "no cache in subagents",
    "single calls": "no cache in calls outside of a session",
    "keep-alive": "keep-alive requests in all sessions",
    "1h": "one-hour writes in all sessions",
}


_READS_REQUESTS = "SELECT count(*) AS requests, sum(estimated_cost_usd) AS cost_usd FROM marts.requests"


def _unavailable(connection: duckdb.DuckDBPyConnection, totals: Row, settings: Settings) -> list[Row]:
    """A row on usage that could not be assessed, and why; no row if logs of single requests cover all usage."""
    covered = rows_of(connection, sql("savings/coverage"))[0]
    reasons = []
    if not covered["in_force_tokens"] and not totals["requests"]:
        reasons.append("There is no usage.")
    elif covered["in_force_tokens"] > covered["requests_tokens"]:
        reasons.append(
            f"Logs of single requests hold {covered['requests_tokens']:,} of {covered['in_force_tokens']:,} tokens, "
            f"{usd(covered['requests_usd'])} of {usd(covered['in_force_usd'])} of all metered usage. Of the rest only "
            "sessions, minutes or days are known: without single requests there are no gaps between them and no cache "
            "reads and writes, so caches, long prompts and loops cannot be assessed."
        )
    if totals["subscription_usd"]:
        reasons.append(
            f"Requests of {usd(totals['subscription_usd'])} are covered by a subscription: API-equivalent, so changing "
            "them saves no cash."
        )
    if totals["unpriced_requests"]:
        reasons.append(
            f"{totals['unpriced_requests']:,} requests ({totals['unpriced_tokens']:,} tokens) have no price."
        )
    if totals["claude_code_without_output"] * 2 > totals["claude_code_requests"]:
        reasons.append(
            f"{totals['claude_code_without_output']:,} of {totals['claude_code_requests']:,} responses in Claude Code "
            f"logs count at most {settings.savings.runaway_output_tokens} output tokens: they hold only the first "
            "count of a stream, so runaway sessions cannot be detected."
        )
    if not reasons:
        return []
    return [
        {
            "kind": "unavailable",
            "subject": "usage that was not assessed",
            "evidence": " ".join(reasons),
            "sql": sql("savings/coverage").rstrip(),
            "status": "unavailable",
        }
    ]


def _what_if(connection: duckdb.DuckDBPyConnection, settings: Settings, name: str, question: WhatIf) -> Row:
    """The row of a what_if: the same traffic at other rates, by `repricing`. It is no saving."""
    model_map = {
        rates.canonical_model(old, settings.model_aliases).model: rates.canonical_model(
            new, settings.model_aliases
        ).model
        for old, new in question.models.items()
    }
    try:
        repriced = repricing.reprice(
            connection, settings.overrides_file, settings.model_aliases, model_map, usage_type=question.usage_type
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"what_if.{name}: {error}") from None
    old, new, difference = (repriced.total(column) for column in ("old_usd", "new_usd", "difference_usd"))
    missing = sum(row["unpriced_tokens"] for row in repriced.rows)
    sentences = [f"{usd(old)} would have been {usd(new)}.", *repriced.assumptions]
    if missing:
        sentences.append(f"{missing:,} tokens (or searches) have no rate before or after, and are left out.")
    if repriced.query is None:
        sentences.append("Some of the rates are your own: there is no query, because it would show them.")
    days = repriced.days
    return {
        "kind": "what_if",
        "subject": name,
        "evidence": " ".join(sentences),
        "sql": repriced.query,
        "what_if_usd_per_month": (difference * MONTH_DAYS / days).quantize(_QUANTUM) if days else None,
        "affected_cost_usd": old,
        "first_usage_date": repriced.first_day,
        "last_usage_date": repriced.last_day,
        "window_days": days or None,
        "status": "what_if",
    }


def _group(row: Row) -> Group:
    return tuple(str(row[name]) for name in _GROUP)


def tables(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Iterator[tuple[str, pa.Table]]:
    """Every table of this stage, by name."""
    yield "recommendations", table_or_reason(SCHEMA, lambda: recommendations(connection, settings))
