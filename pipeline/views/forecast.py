"""What will it cost? The month's forecast with its band and its record, and the budget that suffices.

Belongs here: the views and sentences of this page. Does not belong here: any statistic (analysis.cost_forecast).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.store.connection import Row
from pipeline.store.published import Snapshot
from pipeline.store.sqlfiles import sql
from pipeline.views import plots
from pipeline.views.filters import DIMENSIONS, NOT_STATED, Filters
from pipeline.views.view import Answer, Column, Figure, Input, Page, Tile, View, money

SEGMENTED = dict.fromkeys(("model", "api_key", "workspace", "user_id", "project"), "segment")
OF_CHARGES = {"source": "source", **{name: name for name in DIMENSIONS}}
MOST_BUDGET = 1e12
PATTERNS = {
    "peak": "peak day against the mean day",
    "trend": "growth per week",
    "season": "share of the swings that weekdays explain",
}


def _segment(filters: Filters) -> Mapping[str, Any]:
    return {"segment": filters.segment or "all"}


def _usage(filters: Filters) -> Filters:
    """The filters of the usage that a forecast is of: its segment, without a period."""
    return Filters(source=filters.source, chosen=filters.chosen if filters.segment else ())


def _path(rows: Sequence[Row], filters: Filters) -> Figure:
    figure = plots.lines(
        rows,
        "usage_date",
        {"expected_usd": "expected", "so_far_usd": "so far"},
        "usd",
        band=("low_usd", "high_usd", "80% interval") if rows[-1]["high_usd"] is not None else None,
    )
    if budget := filters.number("budget", 0, MOST_BUDGET):
        figure["layout"]["shapes"] = [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": budget, "y1": budget}
            | {"line": {"color": "var(--flag)", "width": 1.5, "dash": "dash"}}
        ]
    return figure


def _path_sentence(rows: Sequence[Row], filters: Filters) -> str:
    budget = filters.number("budget", 0, MOST_BUDGET)
    return _reached(rows, budget) if budget else ""


def _reached(rows: Sequence[Row], budget: float) -> str:
    """On which day a budget is reached, as expected and at the earliest of the 80% interval."""

    def first(column: str) -> dt.date | None:
        return next((row["usage_date"] for row in rows if row[column] is not None and row[column] >= budget), None)

    if (spent := first("so_far_usd")) is not None:
        return f"The budget of {money(budget)} was reached on {spent:%-d %B}."
    expected, earliest = first("expected_usd"), first("high_usd")
    early = f"; in one of ten months like this, already on {earliest:%-d %B}" if earliest else ""
    if expected is not None:
        return f"A budget of {money(budget)} is expected to be reached on {expected:%-d %B}{early}."
    return f"A budget of {money(budget)} is expected to last the month{early}."


def _months(rows: Sequence[Row], filters: Filters) -> Figure:
    spent = [{"month": row["month"], "part": "spent", "usd": row["cost_usd"]} for row in rows]
    expected = [
        {"month": row["month"], "part": "still expected", "usd": row["still_expected_usd"]}
        for row in rows
        if row["still_expected_usd"] is not None
    ]
    return plots.stacked([*spent, *expected], "month", "usd", "part", "usd")


def _segment_link(row: Row, filters: Filters) -> tuple[str, Filters] | None:
    name, found, value = str(row["segment"]).partition("=")
    if not found or name not in SEGMENTED:
        return None
    return "forecast", Filters().with_values(**{name: value or NOT_STATED})


def _patterns_sentence(rows: Sequence[Row], filters: Filters) -> str:
    named = [PATTERNS.get(row["pattern"], row["pattern"].replace("_", " ")) for row in rows]
    return f"The history shows: {', '.join(named)}."


_USD = {
    "so_far": "So far",
    "point": "Forecast",
    "low_80": "80% from",
    "high_80": "80% to",
    "budget_95": "95% budget",
}

PATH = View(
    name="path",
    title="The month, day by day",
    query="views/forecast/path",
    columns=(
        Column("usage_date", "Day", "day"),
        Column("so_far_usd", "Cost so far", "usd"),
        Column("expected_usd", "Expected by then", "usd"),
        Column("low_usd", "80% from", "usd", "Eight of ten months like this one end between these two amounts"),
        Column("high_usd", "80% to", "usd"),
    ),
    knows=OF_CHARGES,
    of=_usage,
    values=_segment,
    figure=_path,
    sentence=_path_sentence,
    inputs=(Input("budget", "Budget, USD", "number", 0, MOST_BUDGET),),
    empty="There is no forecast: it needs two weeks of usage.",
)
BUDGETS = View(
    name="budgets",
    title="The budget for a chance of being enough",
    query="views/forecast/budgets",
    columns=(
        Column("chance", "Chance", "share", "That the month costs less"),
        Column("month", "Month", "month"),
        Column("budget_usd", "Budget", "usd"),
        Column("over_budget", "Past months over it", "text", "Each forecast on its day 10"),
        Column("next_month", "Next whole month", "month"),
        Column("next_budget_usd", "Its budget", "usd"),
    ),
    knows=SEGMENTED,
    values=_segment,
    empty="There is too little history for a budget, or past months exceeded theirs too often.",
)
MONTHS = View(
    name="months",
    title="Month by month",
    query="views/forecast/months",
    columns=(
        Column("month", "Month", "month"),
        Column("cost_usd", "Cost", "usd", "Usage at the rate card"),
        Column("change_usd", "Change", "usd", "Against the month before"),
        Column("days", "Days with usage", "count"),
        Column("still_expected_usd", "Still expected", "usd"),
        Column("low_80", "80% from", "usd"),
        Column("high_80", "80% to", "usd"),
        Column("budget_95", "95% budget", "usd", "Has a 95% chance of being enough"),
    ),
    knows=OF_CHARGES,
    of=_usage,
    values=_segment,
    figure=_months,
)
SEGMENTS = View(
    name="segments",
    title="Who will cost what, and how often forecasts were right",
    query="views/forecast/segments",
    columns=(
        Column("segment", "Part", "segment", link=_segment_link),
        Column("month", "Month", "month"),
        *(Column(name, label, "usd") for name, label in _USD.items()),
        Column("held", "Held", "text", "Past months that ended inside their interval, forecast on their day 10"),
        Column("over_budget", "Over budget", "text", "Past months that cost more than their 95% budget"),
        Column("note", "Remark", "long"),
    ),
    note="Parts are forecast one by one: they need not add up to the whole.",
    is_overview=True,
    empty="There is no forecast: it needs two weeks of usage.",
)
REPEATS = View(
    name="patterns",
    title="What repeats",
    query="views/forecast/patterns",
    columns=(
        Column("pattern", "Pattern"),
        Column("value", "Value", "ratio"),
        Column("low", "95% from", "ratio"),
        Column("high", "95% to", "ratio"),
        Column("observations", "Days seen", "count"),
        Column("note", "Remark", "long"),
    ),
    knows=SEGMENTED,
    values=_segment,
    sentence=_patterns_sentence,
    empty="The history shows no weekday pattern, season or trend that chance could not explain.",
)


def answer(snapshot: Snapshot, filters: Filters) -> Answer:
    """The nearest month's forecast, its budget, and its record."""
    rows = snapshot.rows(sql("views/forecast/answer"), dict(_segment(filters)))
    row = next((row for row in rows if row["point"] is not None), None)
    warnings = []
    if filters.segment is None:
        warnings.append("There is no forecast for this combination of filters; this is the forecast of everything.")
    if row is None:
        reason = rows[0]["note"] if rows else "there is no usage with this filter among the most expensive parts"
        return Answer(f"There is no forecast: {reason}.".replace("..", "."), warnings=tuple(warnings))
    sentence = f"{row['month']:%B %Y} is expected to cost {money(row['point'])}"
    if row["budget_95"] is not None:
        sentence += f"; a budget of {money(row['budget_95'])} has a 95% chance of being enough."
    else:
        sentence += "; there is too little history for a budget."
    if row["note"]:
        warnings.append(row["note"])
    tiles = [Tile("So far", money(row["so_far"]), f"up to {row['as_of']}")]
    if row["low_80"] is not None:
        tiles.append(Tile("Eight of ten months end", f"{money(row['low_80'])} to {money(row['high_80'])}"))
    if row["backtest_months"]:
        hits, months = row["backtest_hits"], row["backtest_months"]
        tiles.append(Tile("Past forecasts that held", f"{hits} of {months}", "forecast on the 10th of each past month"))
    if row["backtest_budgets"]:
        over, budgets = row["backtest_over_budget"], row["backtest_budgets"]
        tiles.append(Tile("Past months over budget", f"{over} of {budgets}"))
    return Answer(sentence, money(row["point"]), tuple(tiles), tuple(warnings))


PAGE = Page("forecast", "What will it cost?", "Forecast", answer, (PATH, BUDGETS, MONTHS, SEGMENTS, REPEATS))
