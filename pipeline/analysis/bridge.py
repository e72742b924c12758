"""The bridge from one month's bill to the next: analysis.month_bridge.

Belongs here: the definition of a bill, the keys that are tracked from month to month, and the table. Does not belong
here: how a change is split (`stats.decomposition`) and rates by kind (`causes`).

A month's bill is the cost export's amount where the export covers both months of a provider; otherwise it is usage at
the rate card. The unit is an API key within its workspace. Shapley values split each key's change, so the order of the
causes does not matter. Keys add up exactly to workspaces, to `all` and to the change of the bill.
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
from pipeline.analysis.measures import MONEY, TEXT, as_table, described_field, described_schema
from pipeline.analysis.stats.decomposition import BRIDGE_TERMS, month_bridge
from pipeline.settings import Settings
from pipeline.store.connection import Row, rows_of
from pipeline.store.sqlfiles import sql

MAX_MONTHS = 24  # only the latest changes are published
MAX_KEYS = 200  # the most expensive keys are tracked one by one; all others count as one key
OTHERS = "(others)"
Key = tuple[str, str, str]  # provider, workspace, api_key

SCHEMA = described_schema(
    "Why the bill changed from last month to this one: one row per month, segment and cause. The causes of a segment "
    "add up exactly to its change, and workspaces, keys or models to that of all where every one of them is listed",
    [
        described_field("month", pa.date32(), "First day of the later month (UTC); null where there is no bridge"),
        described_field(
            "segment",
            TEXT,
            "all, or workspace=, api_key= or model= and a name; the most expensive (50, setting analysis_segments)",
        ),
        described_field(
            "term",
            TEXT,
            "volume: requests (tokens where no request counts exist); tokens per request; model mix; cache share: the "
            "mix of token kinds within a model; list price; discount: where the cost export states list prices; "
            "new keys, gone keys: the whole cost of a key without usage in the other month. Shapley values: the causes "
            "add up exactly, in whatever order they are applied",
        ),
        described_field("usd", MONEY, "Cost that the cause added, USD; negative where it saved"),
        described_field("previous_usd", MONEY, "Bill of the segment in the month before, USD"),
        described_field("month_usd", MONEY, "Bill of the segment in the month, USD"),
        described_field(
            "source",
            TEXT,
            "billed: cost export; console or sessions: usage at the rate card; several where providers differ",
        ),
        described_field(
            "note", TEXT, "Incomplete first or last month, usage without a price, or why there is no bridge"
        ),
    ],
)


class _Bills:
    """Monthly bills by key, as billed and at the rate card; one GROUP BY reads each."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.ratios = RateRatios(connection)
        self.usage = rows_of(connection, sql("analysis/bridge/usage"))
        self.costs = rows_of(connection, sql("analysis/bridge/billed"))
        self.billed_months = {(row["provider"], row["month"]) for row in self.costs}
        cost_by_key: dict[Key, Decimal] = defaultdict(Decimal)
        for row in self.usage + self.costs:
            cost_by_key[_key(row)] += row["cost_usd"]
        ranked = sorted(cost_by_key, key=lambda key: (-cost_by_key[key], key))
        self.tracked = set(ranked[:MAX_KEYS])
        self.days: dict[dt.date, tuple[dt.date, dt.date]] = {}
        for row in self.usage + self.costs:
            first, last = self.days.get(row["month"], (row["first_day"], row["last_day"]))
            self.days[row["month"]] = (min(first, row["first_day"]), max(last, row["last_day"]))

    def months(self) -> list[dt.date]:
        """Every calendar month from the first to the last with usage or costs, without gaps."""
        months: list[dt.date] = []
        while self.days and (not months or months[-1] < max(self.days)):
            months.append(_next(months[-1]) if months else min(self.days))
        return months

    def is_billed(self, provider: str, before: dt.date, month: dt.date) -> bool:
        """Whether the cost export covers both months."""
        return {(provider, before), (provider, month)} <= self.billed_months

    def of(self, month: dt.date, before: dt.date, after: dt.date) -> tuple[dict[tuple[Key, str], Lines], set[str]]:
        """Lines of a month by key and model, and their sources; billed only where both `before` and `after` are."""
        tokens: dict[tuple[Key, str], Row] = {}
        sources: set[str] = set()
        lines: dict[tuple[Key, str], Lines] = {}
        for row in (row for row in self.usage if row["month"] == month):
            key = self._tracked(_key(row))
            if self.is_billed(key[0], before, after):
                tokens[key, row["model"]] = _merged(tokens.get((key, row["model"])), row)
                continue
            sources |= {name for name in ("console", "sessions") if row[f"from_{name}"]}
            ratios = self.ratios.of(row["provider"], row["model"], month)
            each = Lines(row["cost_usd"], row["cost_usd"], row["requests"])
            each.models[row["provider"], row["model"]] = priced(tokens_of(row), float(row["cost_usd"]), ratios)
            group = (key, row["model"])
            lines[group] = _summed([lines[group], each]) if group in lines else each
        kinds: dict[tuple[Key, str], Row] = {}
        for row in (row for row in self.costs if row["month"] == month):
            key = self._tracked(_key(row))
            if self.is_billed(key[0], before, after):
                sources.add("billed")
                cell = kinds.setdefault(
                    (key, row["model"]), {"by_kind": np.zeros(len(KINDS)), "cost_usd": Decimal(0), "list_usd": 0}
                )
                place = KINDS.index(row["token_kind"]) if row["token_kind"] in KINDS else len(KINDS) - 1
                cell["by_kind"][place] += float(row["list_usd"])
                cell["cost_usd"] += row["cost_usd"]
                cell["list_usd"] += row["list_usd"]
        for (key, model), cell in kinds.items():
            usage = tokens.get((key, model))
            each = Lines(cell["cost_usd"], cell["list_usd"], usage["requests"] if usage else None)
            each.models[key[0], model] = billed(tokens_of(usage) if usage else np.zeros(len(KINDS)), cell["by_kind"])
            lines[key, model] = each
        return lines, sources

    def _tracked(self, key: Key) -> Key:
        return key if key in self.tracked else (key[0], OTHERS, OTHERS)

    def note(self, before: dt.date, after: dt.date) -> str | None:
        """What makes the comparison incomplete: a partial first or last month, usage without a price."""
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
    """Tokens and requests of two rows; requests are unknown if either row has none."""
    if one is None:
        return other
    tokens = {kind: one[kind] + other[kind] for kind in KINDS}
    is_unknown = one["requests"] is None or other["requests"] is None
    return {**tokens, "requests": None if is_unknown else one["requests"] + other["requests"]}


def _summed(lines: Iterable[Lines]) -> Lines:
    """The sum of several lines: costs, requests and tokens by model."""
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
    """The terms of one key; `is_same_key` if it had usage in both months, perhaps of different models."""
    empty = Lines(requests=0) if is_same_key else None
    old, new = before or empty, after or empty
    sides = comparable(*(side for side in (old, new) if side))
    if not all(side.requests for side in sides if side.tokens.any()):
        # without request counts each token counts as one request: more tokens are more volume
        sides = [replace(side, requests=float(side.tokens.sum())) for side in sides]
    change = total([new] if new else []) - total([old] if old else [])
    first = {"": sides[0]} if old else {}
    last = {"": sides[-1]} if new else {}
    return month_bridge(first, last, change)


def _bridge(bills: _Bills, before: dt.date, after: dt.date) -> tuple[dict[str, Row], str]:
    """The terms and both bills of each segment, and the sources."""
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
    """Split each month's change of the bill by cause: in total, and by workspace, key and model.

    `connection` reads the marts and may be read-only. With fewer than two months there is one row that says so.
    """
    bills = _Bills(connection)
    months = bills.months()
    pairs = list(pairwise(months))[-MAX_MONTHS:]
    if not pairs:
        reason = f"only {months[0]:%Y-%m} has usage" if months else "no usage and no costs have been loaded"
        note = f"unavailable: a bridge needs two months, and {reason}."
        return as_table("month_bridge", SCHEMA, [{"segment": "all", "note": note}])
    bridges = [(before, after, *_bridge(bills, before, after)) for before, after in pairs]
    size: dict[str, Decimal] = defaultdict(Decimal)
    for _, _, segments, _ in bridges:
        for name, row in segments.items():
            size[name] += row["before"] + row["after"]
    ranked = sorted(size.keys() - {"all"}, key=lambda name: (-size[name], name))
    listed = ["all", *ranked[: settings.analysis_segments]]
    rows = []
    for before, after, segments, source in bridges:
        month_note = bills.note(before, after)
        empty: Row = {"before": Decimal(0), "after": Decimal(0)}
        # a month without usage still has its rows of `all`
        for name in (name for name in listed if name in segments or name == "all"):
            row = segments.get(name, empty)
            rows += [
                {
                    "month": after,
                    "segment": name,
                    "term": term.replace("_", " "),
                    "usd": row.get(term, Decimal(0)),
                    "previous_usd": row["before"],
                    "month_usd": row["after"],
                    "source": source,
                    "note": month_note,
                }
                for term in BRIDGE_TERMS
            ]
    return as_table("month_bridge", SCHEMA, rows)
