"""The bridge from one month's bill to the next: analysis.month_bridge.

Belongs here: what a bill is, who is followed from month to month, and the table. Does not belong here: how a change is
split (`stats.decomposition`), nor rates by kind (`causes`).

The bill of a month is what the cost export says, where it says it for both months of a provider; else it is usage at
the rate card. Followed is a key in its workspace. Each key's change is split by Shapley values, which prefer no order
of attribution; the splits of keys add up to those of workspaces and of `all`, and these to the change of the bill, to
the last digit.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.analysis.causes import KINDS, Lines, RateRatios, billed, comparable, priced, tokens_of, total
from pipeline.analysis.measures import TEXT, as_table, described_field, described_schema
from pipeline.analysis.stats.decomposition import BRIDGE_TERMS, month_bridge
from pipeline.settings import Settings
from pipeline.store.connection import Row, rows_of
from pipeline.store.sqlfiles import sql

MAX_MONTHS = 24  # changes that are told, the last ones
MAX_KEYS = 200  # followed one by one, the costliest; the others count as one
OTHERS = "(others)"
MONEY = pa.decimal128(38, 12)
Key = tuple[str, str, str]  # provider, workspace, api_key

SCHEMA = described_schema(
    "From last month's bill to this one: what each cause added, one row a month, segment and term. The terms of a "
    "segment sum exactly to its change; so do workspaces, keys and models to that of all, where all of them are listed",
    [
        described_field("month", pa.date32(), "First day of the later month (UTC); null where there is no bridge"),
        described_field(
            "segment",
            TEXT,
            "all, or workspace=, api_key= or model= and a name; the costliest (50, setting analysis_segments)",
        ),
        described_field(
            "term",
            TEXT,
            "volume: requests (tokens where no request counts exist); tokens per request; model mix; cache share: the "
            "mix of kinds of tokens within a model; list price; discount: where the cost export states list prices; "
            "new keys, gone keys: the whole cost of a key that had none in the other month. Attribution by Shapley "
            "value: the mean over all orders in which the causes could have changed",
        ),
        described_field("usd", MONEY, "What the term added, USD; negative where it saved"),
        described_field("previous_usd", MONEY, "Bill of the segment in the month before, USD"),
        described_field("month_usd", MONEY, "Bill of the segment in the month, USD"),
        described_field(
            "source",
            TEXT,
            "billed: cost export; console or sessions: usage at the rate card; several where providers differ",
        ),
        described_field(
            "note", TEXT, "Days that the first or last month lacks, usage without a price, or why there is no bridge"
        ),
    ],
)


class _Bills:
    """Bills of every month by key, on either basis, read with one GROUP BY each."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.ratios = RateRatios(connection)
        self.usage = rows_of(connection, sql("analysis/bridge/usage"))
        self.costs = rows_of(connection, sql("analysis/bridge/billed"))
        self.billed_months = {(row["provider"], row["month"]) for row in self.costs}
        found: dict[Key, Decimal] = defaultdict(Decimal)
        for row in self.usage + self.costs:
            found[_key(row)] += row["cost_usd"]
        ranked = sorted(found, key=lambda key: (-found[key], key))
        self.followed = set(ranked[:MAX_KEYS])
        self.days: dict[dt.date, tuple[dt.date, dt.date]] = {}
        for row in self.usage + self.costs:
            first, last = self.days.get(row["month"], (row["first_day"], row["last_day"]))
            self.days[row["month"]] = (min(first, row["first_day"]), max(last, row["last_day"]))

    def months(self) -> list[dt.date]:
        """Every calendar month from the first to the last with usage or costs, those in between included."""
        months: list[dt.date] = []
        while self.days and (not months or months[-1] < max(self.days)):
            months.append(_next(months[-1]) if months else min(self.days))
        return months

    def is_billed(self, provider: str, before: dt.date, month: dt.date) -> bool:
        """Whether the cost export speaks for both months."""
        return {(provider, before), (provider, month)} <= self.billed_months

    def of(self, month: dt.date, before: dt.date, after: dt.date) -> tuple[dict[tuple[Key, str], Lines], set[str]]:
        """Lines of a month by key and model, on the basis that `before` and `after` share, and the bases."""
        tokens: dict[tuple[Key, str], Row] = {}
        sources: set[str] = set()
        lines: dict[tuple[Key, str], Lines] = {}
        for row in (row for row in self.usage if row["month"] == month):
            key = self._followed(_key(row))
            if self.is_billed(key[0], before, after):
                tokens[key, row["model"]] = _merged(tokens.get((key, row["model"])), row)
                continue
            sources |= {name for name in ("console", "sessions") if row[f"from_{name}"]}
            ratios = self.ratios.of(row["provider"], row["model"], month)
            each = Lines(row["cost_usd"], row["cost_usd"], row["requests"])
            each.models[row["provider"], row["model"]] = priced(tokens_of(row), float(row["cost_usd"]), ratios)
            at = (key, row["model"])
            lines[at] = _summed([lines[at], each]) if at in lines else each
        kinds: dict[tuple[Key, str], Row] = {}
        for row in (row for row in self.costs if row["month"] == month):
            key = self._followed(_key(row))
            if self.is_billed(key[0], before, after):
                sources.add("billed")
                cell = kinds.setdefault(
                    (key, row["model"]), {"list": np.zeros(len(KINDS)), "cost": Decimal(0), "at": 0}
                )
                place = KINDS.index(row["token_kind"]) if row["token_kind"] in KINDS else len(KINDS) - 1
                cell["list"][place] += float(row["list_usd"])
                cell["cost"] += row["cost_usd"]
                cell["at"] += row["list_usd"]
        for at, cell in kinds.items():
            counted = tokens.get(at)
            model = billed(tokens_of(counted) if counted else np.zeros(len(KINDS)), cell["list"])
            each = Lines(cell["cost"], cell["at"], counted["requests"] if counted else None)
            each.models[at[0][0], at[1]] = model
            lines[at] = each
        return lines, sources

    def _followed(self, key: Key) -> Key:
        return key if key in self.followed else (key[0], OTHERS, OTHERS)

    def note(self, before: dt.date, after: dt.date) -> str | None:
        """Days that the history lacks in its first or last month, and usage without a price."""
        parts = []
        first, last = min(self.days.values())[0], max(self.days.values())[1]
        if before.replace(day=1) == first.replace(day=1) and first.day > 1:
            parts.append(f"{before:%Y-%m} begins on {first}")
        if after == last.replace(day=1) and last + dt.timedelta(days=1) != _next(after):
            parts.append(f"{after:%Y-%m} ends on {last}")
        unpriced = sum(row["unpriced_rows"] for row in self.usage if row["month"] in (before, after))
        if unpriced:
            parts.append(f"{unpriced:,} usage rows have no price")
        return "; ".join(parts) or None


def _key(row: Mapping[str, Any]) -> Key:
    return (row["provider"] or "", row["workspace"] or "", row["api_key"] or "")


def _next(month: dt.date) -> dt.date:
    return dt.date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _merged(one: Row | None, other: Row) -> Row:
    """Tokens and requests of two rows; requests are unknown where either lacks them."""
    if one is None:
        return other
    both = {kind: one[kind] + other[kind] for kind in KINDS}
    lacks = one["requests"] is None or other["requests"] is None
    return {**both, "requests": None if lacks else one["requests"] + other["requests"]}


def _summed(lines: Iterable[Lines]) -> Lines:
    """Lines of one key as one: costs, requests and models together."""
    whole = Lines(requests=0)
    for each in lines:
        whole.cost_usd += each.cost_usd
        whole.list_usd += each.list_usd
        known = whole.requests is not None and each.requests is not None
        whole.requests = (whole.requests or 0) + (each.requests or 0) if known else None
        for name, model in each.models.items():
            if name not in whole.models:
                whole.models[name] = model
                continue
            other = whole.models[name]
            cost = np.nan_to_num(model.usd_per_token) * model.tokens
            cost = cost + np.nan_to_num(other.usd_per_token) * other.tokens
            whole.models[name] = billed(model.tokens + other.tokens, cost)
    return whole


def _split(before: Lines | None, after: Lines | None, is_same_key: bool) -> dict[str, Decimal]:
    """The terms of one key; `is_same_key` where it had usage in both months, if not of the same model."""
    nothing = Lines(requests=0) if is_same_key else None
    old, new = before or nothing, after or nothing
    sides = comparable(*(side for side in (old, new) if side))
    if not all(side.requests for side in sides if side.tokens.any()):
        # each token is then a request of one, so that more of them is more volume
        sides = [replace(side, requests=float(side.tokens.sum())) for side in sides]
    change = total([new] if new else []) - total([old] if old else [])
    first = {"": sides[0]} if old else {}
    last = {"": sides[-1]} if new else {}
    return month_bridge(first, last, change)


def _bridge(bills: _Bills, before: dt.date, after: dt.date) -> tuple[dict[str, Row], str]:
    """By segment: its terms and both bills; and the bases."""
    old, first_sources = bills.of(before, before, after)
    new, last_sources = bills.of(after, before, after)
    segments: dict[str, Row] = {}

    def add(names: Iterable[str], terms: Mapping[str, Decimal], one: Lines | None, other: Lines | None) -> None:
        for name in names:
            row = segments.setdefault(name, {"before": Decimal(0), "after": Decimal(0)})
            row["before"] += one.cost_usd if one else 0
            row["after"] += other.cost_usd if other else 0
            for term, usd in terms.items():
                row[term] = row.get(term, Decimal(0)) + usd

    by_key: list[dict[Key, Lines]] = []
    for side in (old, new):
        grouped: dict[Key, list[Lines]] = defaultdict(list)
        for (key, _), each in side.items():
            grouped[key].append(each)
        by_key.append({key: _summed(group) for key, group in grouped.items()})
    for key in sorted(by_key[0].keys() | by_key[1].keys()):
        one, other = by_key[0].get(key), by_key[1].get(key)
        names = ["all", *(f"{kind}={name}" for kind, name in (("workspace", key[1]), ("api_key", key[2])) if name)]
        add(names, _split(one, other, False), one, other)
    for key, model in sorted(old.keys() | new.keys()):
        one, other = old.get((key, model)), new.get((key, model))
        is_same_key = key in by_key[0] and key in by_key[1]
        add([f"model={model}"] if model else [], _split(one, other, is_same_key), one, other)
    return segments, "+".join(sorted(first_sources | last_sources))


def month_bridge_table(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Split the change of the bill from each month to the next, for all, workspaces, keys and models.

    `connection` sees the marts; a read-only one will do. With fewer than two months there is one row that says so.
    """
    bills = _Bills(connection)
    months = bills.months()
    pairs = list(pairwise(months))[-MAX_MONTHS:]
    if not pairs:
        lack = f"only {months[0]:%Y-%m} has usage" if months else "no usage and no costs have been loaded"
        lacking = f"unavailable: a bridge needs two months, and {lack}."
        return as_table("month_bridge", SCHEMA, [{"segment": "all", "note": lacking}])
    told = [(before, after, *_bridge(bills, before, after)) for before, after in pairs]
    size: dict[str, Decimal] = defaultdict(Decimal)
    for _, _, segments, _ in told:
        for name, row in segments.items():
            size[name] += row["before"] + row["after"]
    ranked = sorted(size.keys() - {"all"}, key=lambda name: (-size[name], name))
    listed = ["all", *ranked[: settings.analysis_segments]]
    rows = []
    for before, after, segments, source in told:
        note = bills.note(before, after)
        nothing: Row = {"before": Decimal(0), "after": Decimal(0)}
        # months without any usage in between still have their row of `all`
        for name in (name for name in listed if name in segments or name == "all"):
            row = segments.get(name, nothing)
            rows += [
                {
                    "month": after,
                    "segment": name,
                    "term": term.replace("_", " "),
                    "usd": row.get(term, Decimal(0)),
                    "previous_usd": row["before"],
                    "month_usd": row["after"],
                    "source": source,
                    "note": note,
                }
                for term in BRIDGE_TERMS
            ]
    return as_table("month_bridge", SCHEMA, rows)
