"""The bridge from one bill to the next, by cause: analysis.month_bridge, and between any two periods.

Belongs here: the definition of a bill, the keys that are tracked from period to period, the days that make a move, and
the table. Does not belong here: how a change is split (`stats.decomposition`).

1. A period's bill (`_Bills.of`) is the cost export's amount where the export covers both periods of a provider;
   otherwise it is usage at the rate card. Usage stands in cells of model, kind of token and tier, each with its list
   price. A bill that differs from the rate card by no more than its own rounding is at list price, or at the user's own
   rates: the cents are a term of their own. Otherwise the difference is a discount.
2. The unit is an API key within its workspace. Shapley values split each key's change (`_split`), so the order of the
   causes does not matter. Keys add up exactly to workspaces, to `all` and to the change. Teams and models of a key are
   each split on their own: their changes add up to that of all, and the causes of each to its own change.
3. `_decisive_days` names the few days without which the bill would have moved otherwise.

Known limits: a bill that names no key is compared with the usage of all keys. Costs without tokens (code execution, a
credit) are volume. A team's part of a bill follows the usage in force, so a provider's usage by key gives it by key.
"""

from __future__ import annotations

import calendar
import datetime as dt
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.analysis.measures import MONEY, TEXT, as_table, described_field, described_schema
from pipeline.analysis.stats.decomposition import BRIDGE_TERMS, Usage, month_bridge
from pipeline.settings import Settings
from pipeline.store.connection import Row, rows_of
from pipeline.store.sqlfiles import literal, sql
from pipeline.words import usd

MAX_MONTHS = 24  # only the latest changes are published
MAX_KEYS = 200  # the most expensive keys are tracked one by one; all others count as one key
OTHERS = "(others)"
NO_TEAM = "(none)"
TERMS = (*BRIDGE_TERMS[:-2], "rounding", *BRIDGE_TERMS[-2:])
SEGMENTS = ("workspace", "api_key", "model", "team")
# A day makes a move if it costs this many usual days, and a quarter of the move beyond a usual day; three at most.
DECISIVE_USUAL_DAYS, DECISIVE_SHARE, DECISIVE_DAYS, LEAST_DAYS = 4, Decimal("0.25"), 3, 5

SCHEMA = described_schema(
    "Why the bill changed from last month to this one: one row per month, segment and cause. The causes of a segment "
    "add up exactly to its change. Teams, workspaces, keys and models add up to `all`, where every one of them is "
    "listed",
    [
        described_field("month", pa.date32(), "First day of the later month (UTC); null where there is no bridge"),
        described_field(
            "segment",
            TEXT,
            "all, or workspace=, api_key=, model= or team= and a name; the most expensive (50, setting "
            "analysis_segments). Teams of allocation.csv; team=(none): no line matches",
        ),
        described_field(
            "term",
            TEXT,
            "volume: requests (tokens where no request counts exist); tokens per request; model mix; cache share: the "
            "mix of token kinds within a model; long context, tier (batch, flex, priority), region, speed: the mix of "
            "prices within a kind of token; list price: exactly 0 where no price changed; discount: own rates, or what "
            "is billed, below list price; rounding: of the bill to cents; new keys, gone keys: the whole cost of a key "
            "without usage in the other month. Shapley values: the causes add up exactly, in whatever order they are "
            "applied",
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
        described_field(
            "days",
            TEXT,
            "The single days that make the move, as JSON: usage_date and usd. At most three days of the month with the "
            "larger bill, each of more than 4 usual days and a quarter of the move; null where there are none",
        ),
        described_field("days_usd", MONEY, "Cost of these days, USD"),
        described_field("change_without_days_usd", MONEY, "Change of the bill without these days, USD"),
        described_field("days_sentence", TEXT, "The same in a sentence"),
        described_field("previous_first_day", pa.date32(), "First day of the earlier period (UTC)"),
        described_field("previous_last_day", pa.date32(), "Last day of the earlier period (UTC)"),
        described_field("first_day", pa.date32(), "First day of the later period (UTC)"),
        described_field("last_day", pa.date32(), "Last day of the later period (UTC)"),
    ],
)

Key = tuple[str, str, str]  # provider, workspace, api_key
Cell = tuple[str, ...]  # model, kind of token, context window, tier, region, speed
CELL = ("model", "token_kind", "context_window", "usage_type", "inference_geo", "speed")


class Group(NamedTuple):
    """A key, and its team and model; '' for all of them."""

    key: Key
    team: str
    model: str


@dataclass(frozen=True, order=True)
class Period:
    """A range of UTC days, both included."""

    first_day: dt.date
    last_day: dt.date

    @classmethod
    def month(cls, day: dt.date) -> Period:
        """The calendar month of a day."""
        return cls(day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1]))

    @classmethod
    def parse(cls, text: str) -> Period:
        """A month as 2026-01, a day as 2026-01-05, or the days 2026-01-05..2026-01-11.

        Raises:
            ValueError: the text is none of these, or ends before it begins.

        """
        first, separator, last = text.partition("..")
        try:
            if not separator and len(text) == len("2026-01"):
                return cls.month(dt.date.fromisoformat(f"{text}-01"))
            period = cls(dt.date.fromisoformat(first), dt.date.fromisoformat(last if separator else first))
        except ValueError:
            raise ValueError(f"{text!r} is no period: write 2026-01, or 2026-01-05..2026-01-11") from None
        if period.last_day < period.first_day:
            raise ValueError(f"{text!r} is no period: it ends before it begins")
        return period

    @property
    def is_month(self) -> bool:
        """Whether it is a whole calendar month."""
        return self == Period.month(self.first_day)

    def __str__(self) -> str:
        """The month, or the days, as `parse` reads them."""
        if self.is_month:
            return f"{self.first_day:%Y-%m}"
        return f"{self.first_day}..{self.last_day}" if self.first_day < self.last_day else str(self.first_day)

    def __contains__(self, day: dt.date) -> bool:
        """Whether the day is in the period."""
        return self.first_day <= day <= self.last_day


@dataclass
class _Cell:
    """Tokens with one list price, and what they cost."""

    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    list_usd: Decimal = Decimal(0)

    def add(self, tokens: int, cost_usd: Decimal, list_usd: Decimal) -> None:
        self.tokens += tokens
        self.cost_usd += cost_usd
        self.list_usd += list_usd or cost_usd


@dataclass
class _Bill:
    """The bill of a unit (or of one of its models) in a period; `requests` is None where the source counts none."""

    cells: dict[Cell, _Cell] = field(default_factory=lambda: defaultdict(_Cell))
    without_tokens_usd: Decimal = Decimal(0)
    rounding_usd: Decimal = Decimal(0)
    requests: int | None = 0

    @property
    def cost_usd(self) -> Decimal:
        """The amount, exactly."""
        return sum((cell.cost_usd for cell in self.cells.values()), self.without_tokens_usd + self.rounding_usd)

    def add(self, other: _Bill) -> None:
        """Add another bill to this one."""
        for name, cell in other.cells.items():
            self.cells[name].add(cell.tokens, cell.cost_usd, cell.list_usd)
        self.without_tokens_usd += other.without_tokens_usd
        self.rounding_usd += other.rounding_usd
        is_known = self.requests is not None and other.requests is not None
        self.requests = (self.requests or 0) + (other.requests or 0) if is_known else None


class _Bills:
    """Bills by unit and model in the given periods, as billed and at the rate card; one GROUP BY reads each."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, periods: Sequence[Period]) -> None:
        self.periods = periods
        listed = ", ".join(
            f"({number}, date '{period.first_day}', date '{period.last_day}')" for number, period in enumerate(periods)
        )
        days = sql("analysis/bridge/period_days", periods=listed).rstrip()
        self.bills_query = sql("analysis/bridge/bills").rstrip()
        self.usage = self._by_period(connection, sql("analysis/bridge/usage", days=days))
        self.billed = self._by_period(connection, sql("analysis/bridge/billed", days=days, bills=self.bills_query))
        self.requests = self._by_period(connection, sql("analysis/bridge/requests", days=days))
        self.prices: dict[tuple[str, Cell], list[tuple[dt.date, float]]] = defaultdict(list)
        for row in rows_of(connection, sql("analysis/bridge/prices")):
            starts = row["valid_from"] or dt.date.min
            self.prices[row["provider"], _cell(row)].append((starts, float(row["list_usd_per_mtok"])))
        cost_by_key: dict[Key, Decimal] = defaultdict(Decimal)
        for row in (row for rows in (*self.usage.values(), *self.billed.values()) for row in rows):
            cost_by_key[_key(row)] += row["cost_usd"] or 0
        ranked = sorted(cost_by_key, key=lambda key: (-cost_by_key[key], key))
        self.tracked = set(ranked[:MAX_KEYS])
        self.has_teams = any(row["team"] for rows in self.usage.values() for row in rows)

    def _by_period(self, connection: duckdb.DuckDBPyConnection, query: str) -> dict[Period, list[Row]]:
        found: dict[Period, list[Row]] = {period: [] for period in self.periods}
        for row in rows_of(connection, query):
            found[self.periods[row["period"]]].append(row)
        return found

    def billed_providers(self, first: Period, second: Period) -> set[str]:
        """Providers whose cost export covers both periods."""
        return {row["provider"] for row in self.billed[first]} & {row["provider"] for row in self.billed[second]}

    def of(self, period: Period, billed: set[str]) -> tuple[dict[Group, _Bill], set[str]]:
        """Bills of a period by key, team and model, and their sources; of the providers `billed` as billed."""
        bills: dict[Group, _Bill] = defaultdict(_Bill)
        sources: set[str] = set()
        pieces: dict[tuple[Group, str], list[Row]] = defaultdict(list)
        for row in self.usage[period]:
            is_billed = row["provider"] in billed
            if is_billed and row["is_billed"]:
                pieces[self._group(row, "bill_"), row["token_kind"]].append(row)
            elif not is_billed and row["cost_usd"] is not None:
                sources |= {name for name in ("console", "sessions") if row[f"from_{name}"]}
                cell = bills[self._group(row)].cells[_cell(row)]
                cell.add(row["tokens"], row["cost_usd"], row["list_usd"])
        for row in (row for row in self.billed[period] if row["provider"] in billed):
            sources.add("billed")
            group = self._group(row)
            used = pieces.get((group, row["token_kind"]), []) if row["has_usage"] else []
            _add_billed(bills[group], row, used)
        for row in self.requests[period]:
            is_billed = row["provider"] in billed
            group = self._group(row, "bill_" if is_billed else "")
            if group in bills and (row["is_billed"] or not is_billed):
                bills[group].add(_Bill(requests=row["requests"]))
        return bills, sources

    def _group(self, row: Row, stem: str = "") -> Group:
        key = (row["provider"], row[f"{stem}workspace"], row[f"{stem}api_key"])
        return Group(key if key in self.tracked else (key[0], OTHERS, OTHERS), row["team"], row["model"])

    def usage_of(self, provider: str, bill: _Bill, period: Period, cells: Sequence[Cell]) -> Usage:
        """A bill as arrays of models x kinds x windows x tiers x regions x speeds, over the given cells.

        A cell without tokens in this bill has the list price of the period's last day, if that is known.
        """
        axes = [sorted({cell[axis] for cell in cells}) for axis in range(len(CELL))]
        tokens = np.zeros([len(names) for names in axes])
        rates, discounts = np.full(tokens.shape, np.nan), np.full(tokens.shape, np.nan)
        for name in cells:
            place = tuple(axes[axis].index(name[axis]) for axis in range(len(CELL)))
            own = bill.cells.get(name)
            if own is not None and own.tokens:
                tokens[place] = own.tokens
                # in Decimal, so that usage at one price has exactly that price
                rates[place] = float(own.list_usd * 10**6 / own.tokens) / 1e6
                discounts[place] = float(1 - own.cost_usd / own.list_usd) if own.list_usd else 0.0
            else:
                known = [rate for starts, rate in self.prices.get((provider, name), ()) if starts <= period.last_day]
                rates[place] = known[-1] / 1e6 if known else np.nan
        # without request counts each token counts as one request: more tokens are more volume
        return Usage(tokens, rates, bill.requests or None, None, discounts)


def _usd(bill: _Bill | None) -> Decimal:
    return bill.cost_usd if bill else Decimal(0)


def _add_billed(bill: _Bill, row: Row, used: Sequence[Row]) -> None:
    """Add a billed amount: to the cells of the usage that it is for, or as a cost without tokens."""
    if not used:
        bill.without_tokens_usd += row["cost_usd"]
        return
    is_priced = all(each["cost_usd"] is not None for each in used)
    card_usd = sum((each["cost_usd"] or Decimal(0) for each in used), Decimal(0))
    list_usd = sum((each["list_usd"] or Decimal(0) for each in used), Decimal(0))
    if is_priced and abs(row["cost_usd"] - card_usd) <= row["tolerance_usd"]:
        for each in used:
            bill.cells[_cell(each)].add(each["tokens"], each["cost_usd"], each["list_usd"])
        bill.rounding_usd += row["cost_usd"] - card_usd
        return
    weights = [each["cost_usd"] if is_priced and card_usd else Decimal(each["tokens"]) for each in used]
    is_listed = is_priced and (not row["states_list"] or abs(row["list_usd"] - list_usd) <= row["tolerance_usd"])
    costs = _shares(row["cost_usd"], weights)
    lists = [each["list_usd"] for each in used] if is_listed else _shares(row["list_usd"], weights)
    for each, cost_usd, each_list_usd in zip(used, costs, lists, strict=True):
        bill.cells[_cell(each)].add(each["tokens"], cost_usd, each_list_usd)


def _shares(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """The amount in proportion to the weights, exactly: the last one takes the rest."""
    whole = sum(weights, Decimal(0))
    parts = [(amount * weight / whole).quantize(Decimal("1e-12")) if whole else Decimal(0) for weight in weights[:-1]]
    return [*parts, amount - sum(parts, Decimal(0))]


def _key(row: Mapping[str, Any]) -> Key:
    return (row["provider"], row["workspace"], row["api_key"])


def _cell(row: Mapping[str, Any]) -> Cell:
    return tuple(row[name] for name in CELL)


def _split(bills: _Bills, provider: str, sides: Sequence[_Bill | None], pair: Sequence[Period]) -> dict[str, Decimal]:
    """The terms of a key with a bill in both periods, perhaps an empty one; or its whole cost as new or gone."""
    terms = dict.fromkeys(TERMS, Decimal(0))
    old, new = sides
    if old is None or new is None:
        terms["new_keys" if old is None else "gone_keys"] = _usd(new) - _usd(old)
        return terms
    cells = sorted({*old.cells, *new.cells})
    without_terms = (new.without_tokens_usd - old.without_tokens_usd, new.rounding_usd - old.rounding_usd)
    if cells:
        usages = [bills.usage_of(provider, side, period, cells) for side, period in zip((old, new), pair, strict=True)]
        if not all(usage.requests for usage in usages if usage.tokens.any()):
            usages = [Usage(u.tokens, u.usd_per_token, float(u.tokens.sum()), None, u.discount) for u in usages]
        change = new.cost_usd - old.cost_usd - sum(without_terms)
        terms |= month_bridge({"": usages[0]}, {"": usages[1]}, change)
    terms["volume"] += without_terms[0]
    terms["rounding"] += without_terms[1]
    return terms


@dataclass
class _Segment:
    """Both bills of a segment and the terms of their difference."""

    before_usd: Decimal = Decimal(0)
    after_usd: Decimal = Decimal(0)
    terms: dict[str, Decimal] = field(default_factory=lambda: dict.fromkeys(TERMS, Decimal(0)))

    def add(self, sides: Sequence[_Bill | None], terms: Mapping[str, Decimal]) -> None:
        self.before_usd += _usd(sides[0])
        self.after_usd += _usd(sides[1])
        for term, part in terms.items():
            self.terms[term] += part


@dataclass
class _Bridge:
    """The bridge of two periods, by segment."""

    pair: tuple[Period, Period]
    billed: set[str]
    segments: dict[str, _Segment]
    source: str
    note: str | None = None


def _bridge(bills: _Bills, first: Period, second: Period, by: Sequence[str]) -> _Bridge:
    billed = bills.billed_providers(first, second)
    pair = (first, second)
    sides, sources = zip(*(bills.of(period, billed) for period in pair), strict=True)
    lasting_keys = {group.key for group in sides[0]} & {group.key for group in sides[1]}
    segments: dict[str, _Segment] = defaultdict(_Segment)
    views = [_of_key] + [_of_team] * ("team" in by and bills.has_teams) + [_of_model] * ("model" in by)
    for view in views:
        grouped: list[dict[Group, _Bill]] = []
        for side in sides:
            grouped.append(defaultdict(_Bill))
            for group, bill in side.items():
                grouped[-1][view(group)].add(bill)
        for group in sorted(grouped[0].keys() | grouped[1].keys()):
            both = [side.get(group) for side in grouped]
            if group.key in lasting_keys:
                # another team or model of the key is no new key
                both = [bill or _Bill() for bill in both]
            terms = _split(bills, group.key[0], both, pair)
            for name in _segments(group, view, by):
                segments[name].add(both, terms)
    return _Bridge(pair, billed, segments, "+".join(sorted(sources[0] | sources[1])))


def _of_key(group: Group) -> Group:
    return group._replace(team="", model="")


def _of_team(group: Group) -> Group:
    return group._replace(team=group.team or NO_TEAM, model="")


def _of_model(group: Group) -> Group:
    return group._replace(team="")


def _segments(group: Group, view: Callable[[Group], Group], by: Sequence[str]) -> list[str]:
    """The segments to which a part of the bill belongs, seen by key, by team or by model."""
    if view is not _of_key:
        kind, name = ("team", group.team) if view is _of_team else ("model", group.model)
        return [f"{kind}={name}"] if name else []
    names = {"workspace": group.key[1], "api_key": group.key[2]}
    return ["all", *(f"{kind}={name}" for kind, name in names.items() if kind in by and name)]


def _note(bills: _Bills, history: Period, pair: Iterable[Period]) -> str | None:
    """What makes the comparison incomplete: a period that the history holds in part, usage without a price."""
    parts = []
    for period in pair:
        if history.first_day in period and period.first_day < history.first_day:
            parts.append(f"{period} begins on {history.first_day}")
        if history.last_day in period and history.last_day < period.last_day:
            parts.append(f"{period} ends on {history.last_day}")
    unpriced = sum(row["unpriced_rows"] for period in pair for row in bills.usage[period])
    if unpriced:
        parts.append(f"{unpriced:,} usage rows have no price")
    return "; ".join(parts) or None


Days = Mapping[tuple[str, bool, str], Mapping[dt.date, Decimal]]  # cost by segment, is_billed, provider, and day


def _days(connection: duckdb.DuckDBPyConnection, bills: _Bills, names: Sequence[str], since: dt.date) -> Days:
    found: dict[tuple[str, bool, str], dict[dt.date, Decimal]] = defaultdict(dict)
    query = sql(
        "analysis/bridge/days",
        bills=bills.bills_query,
        segments=", ".join(f"({literal(name)})" for name in names),
    )
    for row in rows_of(connection, query, [since]):
        if row["cost_usd"] is not None:
            found[row["segment"], row["is_billed"], row["provider"]][row["usage_date"]] = row["cost_usd"]
    return found


def _decisive_days(bridge: _Bridge, name: str, days: Days) -> Row:
    """The single days that make the move of a segment, and the change without them; empty where there are none.

    They are days of the period with the larger bill: without them, the move is smaller, or goes the other way.
    """
    segment = bridge.segments.get(name, _Segment())
    change = segment.after_usd - segment.before_usd
    larger = bridge.pair[change > 0]
    costs: dict[dt.date, Decimal] = defaultdict(Decimal)
    for (of, is_billed, provider), by_day in days.items():
        if of == name and is_billed == (provider in bridge.billed):
            for day, cost in by_day.items():
                if day in larger:
                    costs[day] += cost
    if not change or len(costs) < LEAST_DAYS:
        return {}
    usual = median(costs.values())
    decisive = [
        day
        for day in sorted(costs, key=lambda day: (-costs[day], day))
        if costs[day] > DECISIVE_USUAL_DAYS * usual and costs[day] - usual >= DECISIVE_SHARE * abs(change)
    ][:DECISIVE_DAYS]
    if not decisive:
        return {}
    days_usd = sum((costs[day] for day in decisive), Decimal(0))
    without = change - days_usd if change > 0 else change + days_usd
    held = " and ".join(f"{day.day} {day:%B} ({usd(costs[day])})" for day in sorted(decisive))
    sentence = (
        f"{_period(larger)} held {held} of its {usd(max(segment.before_usd, segment.after_usd))}. Without "
        f"{'it' if len(decisive) == 1 else 'them'}, {_period(bridge.pair[1])} would have {_moved(without)}, "
        f"not {_moved(change)}."
    )
    return {
        "days": json.dumps([{"usage_date": str(day), "usd": float(costs[day])} for day in sorted(decisive)]),
        "days_usd": days_usd,
        "change_without_days_usd": without,
        "days_sentence": sentence,
    }


def _moved(change: Decimal) -> str:
    return f"risen by {usd(change)}" if change > 0 else f"fallen by {usd(-change)}" if change < 0 else "stayed the same"


def _period(period: Period) -> str:
    return f"{period.first_day:%B %Y}" if period.is_month else str(period).replace("..", " to ")


def _table(
    connection: duckdb.DuckDBPyConnection,
    pairs: Sequence[tuple[Period, Period]],
    by: Sequence[str],
    segments: int | None,
) -> pa.Table:
    """The bridges of several pairs of periods, for `all` and the `segments` most expensive segments."""
    bills = _Bills(connection, sorted({period for pair in pairs for period in pair}))
    bridges = [_bridge(bills, *pair, by) for pair in pairs]
    (first_day, last_day), *_ = connection.execute(sql("analysis/bridge/history")).fetchall()
    history = Period(first_day or dt.date.max, last_day or dt.date.min)
    size: dict[str, Decimal] = defaultdict(Decimal)
    for bridge in bridges:
        bridge.note = _note(bills, history, bridge.pair)
        for name, segment in bridge.segments.items():
            size[name] += segment.before_usd + segment.after_usd
    ranked = sorted(size.keys() - {"all"}, key=lambda name: (-size[name], name))
    listed = ["all", *ranked[:segments]]
    days = _days(connection, bills, listed, min(period.first_day for pair in pairs for period in pair))
    rows: list[Row] = []
    for bridge in bridges:
        first, second = bridge.pair
        # a month without usage still has its rows of `all`
        for name in (name for name in listed if name in bridge.segments or name == "all"):
            segment = bridge.segments.get(name, _Segment())
            common = {
                "month": second.first_day,
                "segment": name,
                "previous_usd": segment.before_usd,
                "month_usd": segment.after_usd,
                "source": bridge.source,
                "note": bridge.note,
                "previous_first_day": first.first_day,
                "previous_last_day": first.last_day,
                "first_day": second.first_day,
                "last_day": second.last_day,
                **_decisive_days(bridge, name, days),
            }
            rows += [common | {"term": term.replace("_", " "), "usd": part} for term, part in segment.terms.items()]
    return as_table("month_bridge", SCHEMA, rows)


def bridge_between(
    connection: duckdb.DuckDBPyConnection,
    first: Period,
    second: Period,
    by: Sequence[str] = SEGMENTS,
    segments: int | None = None,
) -> pa.Table:
    """Split the change of the bill from one period to another by cause: in total, and by each of `by`.

    `connection` reads the marts and may be read-only; `segments` limits the table to the most expensive ones. Its rows
    are those of analysis.month_bridge; `month` is the first day of the second period.

    Raises:
        ValueError: `by` names something else than `SEGMENTS`.

    """
    if unknown := set(by) - set(SEGMENTS):
        raise ValueError(f"a bridge is by {', '.join(SEGMENTS)}, not by {', '.join(sorted(unknown))}")
    return _table(connection, [(first, second)], by, segments)


def month_bridge_table(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Split each month's change of the bill by cause: in total, and by workspace, key, model and team.

    `connection` reads the marts and may be read-only. With fewer than two months there is one row that says so.
    """
    (first_day, last_day), *_ = connection.execute(sql("analysis/bridge/history")).fetchall()
    months = []
    month = first_day and Period.month(first_day)
    while month and month.first_day <= last_day:
        months.append(month)
        month = Period.month(month.last_day + dt.timedelta(days=1))
    pairs = list(pairwise(months))[-MAX_MONTHS:]
    if not pairs:
        reason = f"only {months[0]} has usage" if months else "no usage and no costs have been loaded"
        note = f"unavailable: a bridge needs two months, and {reason}."
        return as_table("month_bridge", SCHEMA, [{"segment": "all", "note": note}])
    return _table(connection, pairs, SEGMENTS, settings.analysis_segments)
