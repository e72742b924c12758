"""The page of the statistics: reports/analysis/index.html, one file that loads nothing and runs nothing.

Belongs here: its figures as SVG paths, and its sentences. Does not belong here: any statistic (they stand in schema
analysis), and the layout (templates/statistics.html.j2).

The page shows `all` and the ten costliest segments of each measure; the tables hold the others.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from pipeline import figures, pages
from pipeline.analysis import MAX_BOOTSTRAP_SEGMENTS, Column, read_columns
from pipeline.days import Series, daily_series
from pipeline.figures import Plot, figure, short
from pipeline.observations import MEASURES
from pipeline.reconciliation import percent, usd
from pipeline.stats.describe import Counts, Floats, lorenz_curve
from pipeline.stats.laws import LAWS
from pipeline.stats.tails import mean_excess

MAX_POINTS = 90
MAX_FAMILIES = 3
MAX_WEEKS = 53
Row = dict[str, Any]
TITLES = {
    "session_cost_usd": "Cost of a session",
    "session_total_tokens": "Tokens of a session",
    "request_cost_usd": "Cost of a request",
    "request_total_tokens": "Tokens of a request",
    "minute_cost_usd": "Cost of a minute",
    "day_cost_usd": "Cost of a day",
}


@dataclass(frozen=True)
class Cell:
    """A day of the calendar: its place, how dear it was (0 to 4), whether it was flagged, and what it says."""

    x: int
    y: int
    level: int
    is_flagged: bool
    title: str


@dataclass(frozen=True)
class Block:
    """One measure in one segment."""

    segment: str
    verdict: str
    changed_from: str | None
    sentences: str
    plots: tuple[Plot, ...]
    cells: tuple[Cell, ...]
    forecasts: tuple[Row, ...]
    flagged: tuple[Row, ...]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    bridge: tuple[Row, ...]
    bridge_months: tuple[str, str] | None
    bridge_note: str | None
    bridge_bills: tuple[Decimal, Decimal] | None
    bridge_source: str
    half: str
    patterns: tuple[Row, ...]
    measures: tuple[tuple[str, tuple[Block, ...]], ...]


def collect(connection: duckdb.DuckDBPyConnection) -> Report:
    """The report of the tables of schema analysis and of the marts that `connection` has open; nothing is written."""
    tails = {(row["segment"], row["measure"]): row for row in pages.rows(connection, "FROM analysis.tail_metrics")}
    fits: dict[tuple[str, str], list[Row]] = {}
    for row in pages.rows(
        connection, "FROM analysis.distribution_fits WHERE family IS NOT NULL ORDER BY treatment, rank"
    ):
        fits.setdefault((row["segment"], row["measure"]), []).append(row)
    flagged = _grouped(
        pages.rows(connection, "FROM analysis.usage_anomalies WHERE usage_date IS NOT NULL ORDER BY usage_date")
    )
    forecasts = _grouped(pages.rows(connection, "FROM analysis.cost_forecast WHERE point IS NOT NULL"))
    series = {each.segment.name: each for each in daily_series(connection, MAX_BOOTSTRAP_SEGMENTS)[1]}
    measures = []
    for name, measure in MEASURES.items():
        blocks = []
        for column in read_columns(connection, measure, MAX_BOOTSTRAP_SEGMENTS):
            at = (column.segment.name, name)
            if (tail := tails.get(at)) is None:
                continue
            is_day = name == "day_cost_usd"
            blocks.append(
                Block(
                    segment=at[0],
                    verdict=tail["verdict"],
                    changed_from=tail["previous_verdict"] if tail["verdict_changed"] else None,
                    sentences=_sentences(column, tail, flagged.get(at[0], []), forecasts.get(at[0], [])),
                    plots=_plots(column, tail, fits.get(at, [])) if column.segment.n > 1 else (),
                    cells=_calendar(series.get(at[0]), flagged.get(at[0], [])) if is_day else (),
                    forecasts=tuple(_bars(forecasts.get(at[0], []))) if is_day else (),
                    flagged=tuple(flagged.get(at[0], [])[::-1][:10]) if is_day else (),
                )
            )
        measures.append((TITLES[name], tuple(blocks)))
    evident = "FROM analysis.day_patterns WHERE segment = 'all' AND pattern IS NOT NULL"
    return Report(
        **_bridge(connection),
        half=_half(connection),
        patterns=tuple(pages.rows(connection, evident)),
        measures=tuple(measures),
    )


def path(reports_dir: Path) -> Path:
    """Where the page lies."""
    return reports_dir / "analysis" / "index.html"


def write(report: Report, reports_dir: Path, now: dt.datetime) -> Path:
    """Write `analysis/index.html` below `reports_dir`."""
    page = pages.render(
        "statistics",
        now,
        report=report,
        usd=usd,
        percent=percent,
        causes=_causes,
        sessions=_sessions,
        box=figures.BOX,
    )
    target = path(reports_dir)
    pages.private_folder(target.parent)
    pages.write_atomically(target, page)
    return target


def _grouped(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["segment"], []).append(row)
    return groups


# ---------------------------------------------------------------------------------------------------- sentences


def _amount(column: Column, value: float) -> str:
    return usd(value) if column.measure.is_cost else f"{value:,.0f} tokens"


def _sentences(column: Column, tail: Row, flagged: Sequence[Row], forecasts: Sequence[Row]) -> str:
    """Two sentences of what the numbers mean."""
    if tail["verdict"] == "unavailable":
        return str(tail["verdict_reason"])
    noun = column.measure.noun
    if column.measure.name == "day_cost_usd":
        days = len({row["usage_date"] for row in flagged})
        peak = f", the dearest {tail['max_to_median']:,.1f} times as much" if tail["max_to_median"] else ""
        first = (
            f"A typical day costs {usd(tail['median'])}{peak}; {days or 'no'} of {tail['n']:,} days "
            f"{'stand' if days != 1 else 'stands'} out from what {'their' if days != 1 else 'its'} history lets expect."
        )
        told = forecasts[0] if forecasts else None
        if told is None:
            return f"{first} There is no forecast."
        held = (
            f"with 95% it stays below {usd(told['high_95'])}, the budget that holds"
            if told["high_95"]
            else "no interval"
        )
        return f"{first} {told['month']:%B %Y} is forecast at {usd(told['point'])}; {held}."
    if tail["top_1_share"] is None or tail["median"] is None:
        return str(tail["verdict_reason"])
    spread = _share_of_squares(column.values, column.counts)
    half = f"{percent(tail['half_of_total_share'])}"
    if tail["half_of_total_share_low"] is not None:
        half += f" ({percent(tail['half_of_total_share_low'])} to {percent(tail['half_of_total_share_high'])})"
    kind = "cost" if column.measure.is_cost else "tokens"
    first = (
        f"The largest 1% of {tail['n']:,} {noun}s make {percent(tail['top_1_share'])} of the {kind}, and "
        f"{percent(spread)} of the chance variance that {noun}s give a month; half of the {kind} comes from {half} "
        "of them."
    )
    words = {
        "heavy": "The tail is heavy",
        "light": "The tail is light",
        "undetermined": "Heavy or light cannot be told",
        "too_few": "There are too few for a verdict on the tail",
    }
    reason = str(tail["verdict_reason"]).rstrip(".").replace(". ", "; ")
    return f"{first} {words[tail['verdict']]}: p95 is {_amount(column, tail['p95'])}, {reason[:1].lower()}{reason[1:]}."


def _share_of_squares(values: Floats, counts: Counts) -> float:
    """Share of the sum of squares in the largest 1% of rows: of the variance of a Poisson number of them."""
    squares = values**2 * counts
    rest = max(int(counts.sum()) // 100, 1)
    taken = 0.0
    for value, count in zip(values[::-1], counts[::-1], strict=True):
        take = min(rest, int(count))
        taken += float(value) ** 2 * take
        rest -= take
        if rest <= 0:
            break
    whole = float(squares.sum())
    return taken / whole if whole else 0.0


def _half(connection: duckdb.DuckDBPyConnection) -> str:
    (row,) = pages.rows(connection, "FROM analysis.half_of_cost_sessions ORDER BY rank LIMIT 1")
    if row["rank"] is None:
        return str(row["note"])
    interval = ""
    if row["share_low"] is not None:
        interval = f" (95% interval {percent(row['share_low'])} to {percent(row['share_high'])})"
    return (
        f"{row['sessions_needed']:,} of {row['sessions']:,} sessions, {percent(row['share'])}{interval}, make half of "
        "the cost; analysis.half_of_cost_sessions lists them."
    )


def _causes(row: Row) -> str:
    """The causes of a flagged day in words, the largest first."""
    if not row["contributions"]:
        return "no same weekday to compare with"
    parts = json.loads(row["contributions"], parse_float=Decimal, parse_int=Decimal)
    told = sorted(parts.items(), key=lambda part: -abs(part[1]))
    return ", ".join(f"{name.replace('_', ' ')} {usd(part)}" for name, part in told if abs(part) >= Decimal("0.01"))


def _sessions(row: Row) -> str:
    """The costliest sessions of a flagged day."""
    return ", ".join(
        f"{each['session_id']} ({usd(each['cost_usd'])})" for each in json.loads(row["top_sessions"] or "[]")
    )


def _bridge(connection: duckdb.DuckDBPyConnection) -> Row:
    last = "month IS NOT DISTINCT FROM (SELECT max(month) FROM analysis.month_bridge)"
    rows = pages.rows(connection, f"FROM analysis.month_bridge WHERE segment = 'all' AND {last}")
    first = rows[0] if rows else {"month": None, "note": "unavailable", "source": None}
    if first["month"] is None:
        return {
            "bridge": (),
            "bridge_months": None,
            "bridge_note": first["note"],
            "bridge_bills": None,
            "bridge_source": "",
        }
    at, steps = first["previous_usd"], []
    for row in rows:
        steps.append({"term": row["term"], "usd": row["usd"], "start": at, "end": at + row["usd"]})
        at += row["usd"]
    widest = max((max(abs(step["start"]), abs(step["end"])) for step in steps), default=Decimal(0)) or Decimal(1)
    for step in steps:
        step["left"] = float(100 * max(min(step["start"], step["end"]), Decimal(0)) / widest)
        step["width"] = float(100 * abs(step["usd"]) / widest)
    month = first["month"]
    before = (month - dt.timedelta(days=1)).strftime("%B %Y")
    return {
        "bridge": tuple(steps),
        "bridge_months": (before, month.strftime("%B %Y")),
        "bridge_note": first["note"],
        "bridge_bills": (first["previous_usd"], first["month_usd"]),
        "bridge_source": first["source"],
    }


# ------------------------------------------------------------------------------------------------------ figures


def _thinned(count: int) -> Any:
    """Places of at most `MAX_POINTS` of so many points, dense towards the last: the tail."""
    if count <= MAX_POINTS:
        return np.arange(count)
    return np.unique(count - 1 - np.unique(np.geomspace(1, count, MAX_POINTS).astype(int) - 1))


def _plots(column: Column, tail: Row, fits: Sequence[Row]) -> tuple[Plot, ...]:
    """Survival with fits and cap, mean excess, Lorenz curve; what a column cannot give is left out."""
    unit = "USD" if column.measure.is_cost else "tokens"
    plots = []
    x, c = column.values[column.values > 0], column.counts[column.values > 0]
    if len(x) > 1:
        n = int(c.sum())
        survival = np.cumsum(c[::-1])[::-1] / n
        low, high, least = float(x[0]), float(x[-1]), 0.5 / n
        kept = _thinned(len(x))
        lines = []
        grid = np.geomspace(low, high, 60)
        treatment = fits[0]["treatment"] if fits else ""
        chosen = [fit for fit in fits if fit["treatment"] == treatment and fit["selectable"]][:MAX_FAMILIES]
        for number, fit in enumerate(chosen):
            law = np.exp(LAWS[fit["family"]].log_survival(json.loads(fit["params"]), grid))
            seen = law >= least
            if seen.sum() > 1:
                lines.append((f"fit{number}", grid[seen], law[seen], fit["family"].replace("_", " ")))
        lines.append(("data", x[kept], survival[kept], "observed"))
        title = f"Share of {column.measure.noun}s of at least x {unit}"
        cap = None if tail["cap_value"] is None else (tail["cap_value"], f"cap {short(tail['cap_value'])}")
        plots.append(figure(title, lines, (True, True), (low, high, least, 1.0), cap))
    thresholds, excess = mean_excess(column.values, column.counts)
    if len(thresholds) > 1 and float(excess.max()) > 0:
        kept = _thinned(len(thresholds))
        ends = (float(thresholds[0]), float(thresholds[-1]), 0.0, float(excess[kept].max()) or 1.0)
        title = f"Mean excess over x {unit} (rising: heavy)"
        plots.append(figure(title, [("data", thresholds[kept], excess[kept], "")], (False, False), ends))
    if lorenz := lorenz_curve(column.values, column.counts, 51):
        even = ("even", np.array([0.0, 1.0]), np.array([0.0, 1.0]), "all alike")
        title = f"Lorenz curve: share of {column.measure.noun}s, share of the sum"
        plots.append(figure(title, [even, ("data", *lorenz, "observed")], (False, False), (0.0, 1.0, 0.0, 1.0)))
    return tuple(plots)


def _calendar(series: Series | None, flagged: Sequence[Row]) -> tuple[Cell, ...]:
    """A cell a day of the last year: a column a week, a line a weekday."""
    if series is None:
        return ()
    days = {row["usage_date"] for row in flagged}
    positive = series.days[series.days > 0]
    edges = np.quantile(positive, [0.25, 0.5, 0.75]) if len(positive) else np.zeros(3)
    first = max(len(series.days) - MAX_WEEKS * 7, 0)
    monday = series.date(first) - dt.timedelta(days=series.date(first).weekday())
    cells = []
    for place in range(first, len(series.days)):
        day, cost = series.date(place), float(series.days[place])
        level = 0 if cost <= 0 else 1 + int(np.searchsorted(edges, cost))
        cells.append(Cell((day - monday).days // 7, day.weekday(), level, day in days, f"{day}: {usd(cost)}"))
    return tuple(cells)


def _bars(forecasts: Sequence[Row]) -> Iterable[Row]:
    """Forecasts with the places of their ends, in percent of the widest."""
    widest = max((row["high_95"] or row["point"] for row in forecasts), default=0.0) or 1.0
    for row in forecasts:
        ends = {
            name: 100 * row[name] / widest for name in ("point", "low_80", "high_80", "low_95", "high_95") if row[name]
        }
        yield {**row, "ends": ends}
