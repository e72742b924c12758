"""The page reports/reconciliation: how much of the bill the logs account for, and where to look for the rest.

Belongs here: this page's charts. Does not belong here: its figures and sentences (reconciled).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from pipeline.views import pages
from pipeline.views.reconciled import Report, Share, kind_in_words
from pipeline.words import percent, usd

# A chart with more columns shows weeks, then months.
_MOST_COLUMNS = 92


def write(report: Report, reports_dir: Path, now: datetime) -> Path:
    """Write `reconciliation/index.html` below `reports_dir`, one file that works offline, without scripts."""
    period, columns = _by_period(report.by_day)
    page = pages.render(
        "reconciliation",
        now,
        report=report,
        period=period,
        chart=_chart(columns),
        widest_usd=max((max(abs(step.start_usd), abs(step.end_usd)) for step in report.steps), default=Decimal(0)),
        usd=usd,
        percent=percent,
        kind=kind_in_words,
    )
    target = pages.private_folder(reports_dir / "reconciliation") / "index.html"
    pages.write_atomically(target, page)
    return target


def _by_period(days: Sequence[Share]) -> tuple[str, list[Share]]:
    """Days, weeks (by their Monday) or months, so that a chart has at most about a hundred columns."""
    spans: tuple[tuple[str, str], ...] = (("day", "%Y-%m-%d"), ("week", "%G-W%V"), ("month", "%Y-%m"))
    for period, form in spans:
        sums: dict[str, list[Share]] = {}
        for day in days:
            sums.setdefault(date.fromisoformat(day.name).strftime(form), []).append(day)
        if len(sums) <= _MOST_COLUMNS or period == "month":
            break
    return period, [
        Share(
            name,
            sum((each.billed_usd for each in group), Decimal(0)),
            sum((each.explained_usd for each in group), Decimal(0)),
            sum(each.cells for each in group),
            sum(each.cells_tied_out for each in group),
        )
        for name, group in sums.items()
    ]


# Units of the charts' view box, which scales to the width of the page.
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 1000, 240, 64, 30, 12, 30


@dataclass(frozen=True)
class Column:
    """A period in both charts: its position, its bars from the bottom up, and its point on the coverage line."""

    x: float
    width: float
    explained_y: float
    explained_height: float
    open_y: float
    open_height: float
    coverage_y: float | None
    label: str
    title: str


@dataclass(frozen=True)
class Chart:
    """Geometry of the two charts over time, in units of their view box."""

    width: int
    height: int
    left: int
    baseline: int
    columns: tuple[Column, ...]
    money_lines: tuple[tuple[float, str], ...]
    share_lines: tuple[tuple[float, str], ...]
    coverage_path: str


def _chart(shares: Sequence[Share]) -> Chart | None:
    """The charts of these periods; None if nothing was billed in any of them."""
    most = max((share.billed_usd for share in shares), default=Decimal(0))
    if most <= 0:
        return None
    baseline = _HEIGHT - _BOTTOM
    plot = baseline - _TOP
    slot = (_WIDTH - _LEFT - _RIGHT) / len(shares)
    width = min(max(slot * 0.72, 1.0), 48.0)
    every = max(1, -(-len(shares) // 10))
    columns = []
    for number, share in enumerate(shares):
        explained = float(share.explained_usd / most) * plot
        missing = float(max(share.billed_usd - share.explained_usd, Decimal(0)) / most) * plot
        coverage = share.coverage
        columns.append(
            Column(
                x=_LEFT + slot * number + (slot - width) / 2,
                width=width,
                explained_y=baseline - explained,
                explained_height=explained,
                open_y=baseline - explained - missing,
                open_height=missing,
                coverage_y=None if coverage is None else baseline - min(max(coverage, 0.0), 1.0) * plot,
                label=share.name if number % every == 0 else "",
                title=f"{share.name}: {usd(share.billed_usd)} billed, {usd(share.explained_usd)} explained "
                f"({percent(coverage)})",
            )
        )
    points = [(column.x + column.width / 2, column.coverage_y) for column in columns if column.coverage_y is not None]
    return Chart(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        baseline=baseline,
        columns=tuple(columns),
        money_lines=tuple((baseline - plot * part, usd(most * Decimal(part))) for part in (0.0, 0.5, 1.0)),
        share_lines=tuple((baseline - plot * part, f"{part:.0%}") for part in (0.0, 0.5, 1.0)),
        coverage_path=" ".join(f"{'L' if n else 'M'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(points)),
    )
