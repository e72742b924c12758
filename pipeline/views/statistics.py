"""The statistics page: reports/analysis/index.html, one file that works offline.

Belongs here: its sentences, tables and scripts. Does not belong here: any statistic (they are in schema analysis), its
figures (statistics_figures), and the layout (templates/statistics.html.j2).

The page shows `all` and the ten most expensive segments of each measure; the tables have the others.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from pipeline.analysis.days import daily_series
from pipeline.analysis.distributions import MAX_BOOTSTRAP_SEGMENTS, Column, read_columns
from pipeline.analysis.measures import MEASURES
from pipeline.store.connection import Row, rows_of
from pipeline.views import pages, statistics_figures
from pipeline.views.statistics_figures import Chart
from pipeline.words import percent, usd

TITLES = {
    "session_cost_usd": "Cost of a session",
    "session_total_tokens": "Tokens of a session",
    "request_cost_usd": "Cost of a request",
    "request_total_tokens": "Tokens of a request",
    "minute_cost_usd": "Cost of a minute",
    "day_cost_usd": "Cost of a day",
}


@dataclass(frozen=True)
class Block:
    """One measure in one segment."""

    segment: str
    verdict: str
    changed_from: str | None
    sentences: str
    charts: tuple[Chart, ...]
    calendar: Chart | None
    forecast: Chart | None
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
    """The content of the page, from schema analysis and the marts of `connection`; writes nothing."""
    tails = {(row["segment"], row["measure"]): row for row in rows_of(connection, "FROM analysis.tail_metrics")}
    fits: dict[tuple[str, str], list[Row]] = {}
    for row in rows_of(connection, "FROM analysis.distribution_fits WHERE family IS NOT NULL ORDER BY treatment, rank"):
        fits.setdefault((row["segment"], row["measure"]), []).append(row)
    flagged = _grouped(
        rows_of(connection, "FROM analysis.usage_anomalies WHERE usage_date IS NOT NULL ORDER BY usage_date")
    )
    forecasts = _grouped(rows_of(connection, "FROM analysis.cost_forecast WHERE point IS NOT NULL"))
    series = {each.segment.name: each for each in daily_series(connection, MAX_BOOTSTRAP_SEGMENTS)[1]}
    measures = []
    for name, measure in MEASURES.items():
        blocks = []
        for place, column in enumerate(read_columns(connection, measure, MAX_BOOTSTRAP_SEGMENTS)):
            at = (column.segment.name, name)
            if (tail := tails.get(at)) is None:
                continue
            is_daily = name == "day_cost_usd"
            months, days = (forecasts.get(at[0], []), flagged.get(at[0], [])) if is_daily else ([], [])
            drawn = f"{name}-{place}"
            blocks.append(
                Block(
                    segment=at[0],
                    verdict=tail["verdict"],
                    changed_from=tail["previous_verdict"] if tail["verdict_changed"] else None,
                    sentences=_sentences(column, tail, days, months),
                    charts=(
                        statistics_figures.distribution(drawn, column, tail, fits.get(at, []))
                        if column.segment.n > 1
                        else ()
                    ),
                    calendar=statistics_figures.calendar(drawn, series.get(at[0]), days) if is_daily else None,
                    forecast=statistics_figures.forecast(drawn, months),
                    forecasts=tuple(months),
                    flagged=tuple(days[::-1][:10]),
                )
            )
        measures.append((TITLES[name], tuple(blocks)))
    evident = "FROM analysis.day_patterns WHERE segment = 'all' AND pattern IS NOT NULL"
    return Report(
        **_bridge(connection),
        half=_half(connection),
        patterns=tuple(rows_of(connection, evident)),
        measures=tuple(measures),
    )


def path(reports_dir: Path) -> Path:
    """Path of the page."""
    return reports_dir / "analysis" / "index.html"


def write(report: Report, reports_dir: Path, now: dt.datetime) -> Path:
    """Write `analysis/index.html` below `reports_dir`; it contains plotly.js if there is a figure."""
    figures = {chart.name: chart.figure for _, blocks in report.measures for block in blocks for chart in _drawn(block)}
    page = pages.render(
        "statistics",
        now,
        report=report,
        usd=usd,
        percent=percent,
        causes=_causes,
        sessions=_sessions,
        **_scripts(figures),
    )
    target = path(reports_dir)
    pages.private_folder(target.parent)
    pages.write_atomically(target, page)
    return target


def _drawn(block: Block) -> Iterable[Chart]:
    return (chart for chart in (*block.charts, block.calendar, block.forecast) if chart is not None)


def _scripts(figures: Mapping[str, Row]) -> dict[str, Any]:
    """The page's scripts, the data of its figures, and a content security policy that allows only these scripts.

    A page without figures has no scripts. The policy allows only images that plotly creates itself.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    if not figures:
        return {"policy": policy, "scripts": (), "figures": None}
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    own = (Path(__file__).parent / "templates" / "statistics.js").read_text(encoding="utf-8")
    scripts = (get_plotlyjs(), own)
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    data = {"template": statistics_figures.look(), "config": statistics_figures.CONFIG, "figures": figures}
    return {
        "policy": f"{policy}; script-src {allowed}; img-src data: blob:",
        "scripts": tuple(Markup(script) for script in scripts),  # noqa: S704
        "figures": Markup(_inert(data)),  # noqa: S704
    }


def _inert(data: Row) -> str:
    """JSON with the special characters of HTML escaped."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _grouped(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["segment"], []).append(row)
    return groups


# ---------------------------------------------------------------------------------------------------- sentences


def _amount(column: Column, value: float) -> str:
    return usd(value) if column.measure.is_cost else f"{value:,.0f} tokens"


def _sentences(column: Column, tail: Row, flagged: Sequence[Row], forecasts: Sequence[Row]) -> str:
    """Two sentences that explain the numbers."""
    if tail["verdict"] == "unavailable":
        return str(tail["verdict_reason"])
    noun = column.measure.noun
    if column.measure.name == "day_cost_usd":
        days = len({row["usage_date"] for row in flagged if row["kind"] == "shock" and not row["taken_back"]})
        peak = f", the most expensive one {tail['max_to_median']:,.1f} times as much" if tail["max_to_median"] else ""
        first = (
            f"A typical day costs {usd(tail['median'])}{peak}; {days or 'none'} of {tail['n']:,} days "
            f"{'was' if days < 2 else 'were'} unusually expensive."
        )
        return f"{first} {pages.budget_in_words(forecasts[0] if forecasts else None) or 'There is no forecast.'}"
    if tail["top_1_share"] is None or tail["median"] is None:
        return str(tail["verdict_reason"])
    half = f"{percent(tail['half_of_total_share'])}"
    if tail["half_of_total_share_low"] is not None:
        half += f" ({percent(tail['half_of_total_share_low'])} to {percent(tail['half_of_total_share_high'])})"
    kind = "cost" if column.measure.is_cost else "tokens"
    spread = f"Half of the {kind} comes from {half} of the {tail['n']:,} {noun}s"
    return f"{tail['verdict_reason']} {spread}; 5% of them exceed {_amount(column, tail['p95'])}."


def _half(connection: duckdb.DuckDBPyConnection) -> str:
    (row,) = rows_of(connection, "FROM analysis.half_of_cost_sessions ORDER BY rank LIMIT 1")
    if row["rank"] is None:
        return str(row["note"])
    interval = ""
    if row["share_low"] is not None:
        interval = f" (95% interval {percent(row['share_low'])} to {percent(row['share_high'])})"
    return (
        f"{row['sessions_needed']:,} of {row['sessions']:,} sessions, {percent(row['share'])}{interval}, cause half of "
        "the cost; analysis.half_of_cost_sessions lists them."
    )


def _causes(row: Row) -> str:
    """The causes of a flagged day in words, largest first."""
    if row["kind"] == "level_shift":
        return f"{row['score']:,.1f} times the former level from this day on"
    if row["kind"] == "new_segment":
        return "new: no usage before"
    if not row["contributions"]:
        return "no day to compare with"
    parts = json.loads(row["contributions"], parse_float=Decimal, parse_int=Decimal)
    causes = sorted(parts.items(), key=lambda part: -abs(part[1]))
    return ", ".join(f"{name.replace('_', ' ')} {usd(part)}" for name, part in causes if abs(part) >= Decimal("0.01"))


def _sessions(row: Row) -> str:
    """The most expensive sessions of a flagged day."""
    return ", ".join(
        f"{each['session_id']} ({usd(each['cost_usd'])})" for each in json.loads(row["top_sessions"] or "[]")
    )


def _bridge(connection: duckdb.DuckDBPyConnection) -> Row:
    last = "month IS NOT DISTINCT FROM (SELECT max(month) FROM analysis.month_bridge)"
    rows = rows_of(connection, f"FROM analysis.month_bridge WHERE segment = 'all' AND {last}")
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
        "bridge_note": ". ".join(filter(None, [first["note"], (first["days_sentence"] or "").rstrip(".")])),
        "bridge_bills": (first["previous_usd"], first["month_usd"]),
        "bridge_source": first["source"],
    }
