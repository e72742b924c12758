"""Figures as plotly's JSON: bars, lines, bands, steps, heatmaps and curves.

Belongs here: shapes that several pages share. Does not belong here: what a figure shows (one module a page), and
drawing (static/app.js, in the reader's browser).

Colours are CSS variables of the page, which the script resolves, so that light and dark mode share one set of data.
Plotly reads `<b>` and `&amp;` in text as markup: names pass through `plain` first.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pipeline.store.connection import Row
from pipeline.views.view import Figure, Unit, shown, text

OTHERS = "(all others)"
SERIES = tuple(f"var(--s{number})" for number in range(1, 9))
_TICKS: dict[str, dict[str, Any]] = {
    "usd": {"tickprefix": "$", "tickformat": "~s"},
    "tokens": {"tickformat": "~s"},
    "count": {"tickformat": "~s"},
    "share": {"tickformat": ".0%"},
}
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def plain(value: Any) -> str:
    """Text that plotly draws as it is."""
    return text(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def number(value: Any) -> float | None:
    """A number for a figure, None where there is none."""
    return None if value is None or not math.isfinite(value) else float(value)


def stacked(rows: Sequence[Row], x: str, y: str, part: str, unit: Unit) -> Figure:
    """Bars of `y` over `x`, stacked by `part`; the largest part lies at the bottom, the rest of all at the top."""
    sums: dict[str, float] = {}
    for row in rows:
        sums[row[part]] = sums.get(row[part], 0.0) + float(row[y] or 0)
    parts = sorted(sums, key=lambda name: (name == OTHERS, -sums[name], name))
    traces = []
    for place, name in enumerate(parts):
        of_part = [row for row in rows if row[part] == name]
        traces.append(
            {
                "type": "bar",
                "name": plain(name),
                "x": [_position(row[x]) for row in of_part],
                "y": [number(row[y]) for row in of_part],
                "hovertext": [f"{plain(name)}<br>{plain(row[x])}: {plain(shown(row[y], unit))}" for row in of_part],
                "hoverinfo": "text",
                "marker": {"color": "var(--quiet)" if name == OTHERS else SERIES[place % len(SERIES)]},
            }
        )
    return {
        "data": traces,
        "layout": {
            "barmode": "relative",
            "bargap": 0.15,
            "yaxis": axis(unit, (row[y] for row in rows)),
            "showlegend": len(parts) > 1,
        },
    }


def coloured(figure: Figure, colours: Mapping[str, str]) -> Figure:
    """A stacked figure whose named parts have these colours, whichever of them is the largest."""
    for trace in figure["data"]:
        trace["marker"] = {"color": colours.get(trace["name"], trace["marker"]["color"])}
    return figure


def ranked(rows: Sequence[Row], name: str, value: str, unit: Unit, most: int = 15) -> Figure:
    """Horizontal bars, the largest at the top."""
    taken = list(rows)[:most][::-1]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": [number(row[value]) for row in taken],
                "y": [_short(row[name]) for row in taken],
                "hovertext": [f"{plain(row[name])}: {plain(shown(row[value], unit))}" for row in taken],
                "hoverinfo": "text",
                "marker": {"color": SERIES[0]},
            }
        ],
        "layout": {
            "xaxis": axis(unit, (row[value] for row in taken)),
            "yaxis": {"type": "category", "automargin": True, "dtick": 1},
            "height": 90 + 26 * len(taken),
            "showlegend": False,
        },
    }


def lines(
    rows: Sequence[Row],
    x: str,
    of: Mapping[str, str],
    unit: Unit,
    *,
    band: tuple[str, str, str] | None = None,
    is_log: bool = False,
) -> Figure:
    """Lines over `x`: `of` names each column's legend. `band`: the columns of a band's ends, and its legend."""
    at = [_position(row[x]) for row in rows]
    traces: list[Row] = []
    if band is not None:
        low, high, legend = band
        edge = {"type": "scatter", "mode": "lines", "x": at, "line": {"width": 0}, "hoverinfo": "skip"}
        traces += [
            edge | {"y": [number(row[low]) for row in rows], "showlegend": False},
            edge
            | {
                "y": [number(row[high]) for row in rows],
                "name": legend,
                "fill": "tonexty",
                "fillcolor": "var(--band)",
            },
        ]
    for place, (column, legend) in enumerate(of.items()):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": legend,
                "x": at,
                "y": [number(row[column]) for row in rows],
                "hovertext": [f"{legend}<br>{plain(row[x])}: {plain(shown(row[column], unit))}" for row in rows],
                "hoverinfo": "text",
                "line": {"color": SERIES[place % len(SERIES)], "width": 2},
            }
        )
    scale = axis(unit, (row[column] for column in of for row in rows)) | (
        {"type": "log"} if is_log else {"rangemode": "tozero"}
    )
    return {"data": traces, "layout": {"yaxis": scale, "showlegend": len(traces) > 1}}


def curves(rows: Sequence[Row], x: str, y: str, part: str, units: tuple[Unit, Unit], titles: tuple[str, str]) -> Figure:
    """A line for each `part`, through its points in order."""
    traces = []
    for place, name in enumerate(dict.fromkeys(row[part] for row in rows)):
        of_part = [row for row in rows if row[part] == name]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": plain(name),
                "x": [_position(row[x]) for row in of_part],
                "y": [number(row[y]) for row in of_part],
                "hovertext": [
                    f"{plain(name)}<br>{titles[0]}: {plain(shown(row[x], units[0]))}"
                    f"<br>{titles[1]}: {plain(shown(row[y], units[1]))}"
                    for row in of_part
                ],
                "hoverinfo": "text",
                "line": {"color": SERIES[place % len(SERIES)], "width": 2},
            }
        )
    axes = {
        name: {"title": {"text": title}, **axis(unit)}
        for name, title, unit in zip(("xaxis", "yaxis"), titles, units, strict=True)
    }
    return {"data": traces, "layout": axes | {"showlegend": len(traces) > 1}}


def waterfall(steps: Sequence[tuple[str, Decimal | float, bool]], unit: Unit = "usd") -> Figure:
    """Steps (label, amount, whether it is a total) from left to right; each begins where the one before it ends."""
    bases, heights, colours, hover, at = [], [], [], [], 0.0
    for label, amount, is_total in steps:
        value = float(amount)
        bases.append(0.0 if is_total else at)
        heights.append(value)
        at = value if is_total else at + value
        colours.append(SERIES[0] if is_total else ("var(--plus)" if value > 0 else "var(--minus)"))
        hover.append(f"{plain(label)}: {plain(shown(amount, unit))}")
    return {
        "data": [
            {
                "type": "bar",
                "x": [_short(label) for label, _, _ in steps],
                "y": heights,
                "base": bases,
                "hovertext": hover,
                "hoverinfo": "text",
                "text": [plain(shown(amount, unit)) for _, amount, _ in steps],
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {"color": colours},
            }
        ],
        "layout": {
            "yaxis": axis(unit, heights),
            "xaxis": {"type": "category", "dtick": 1},
            "showlegend": False,
            "bargap": 0.25,
        },
    }


def heatmap(
    rows: Sequence[Row], x: str, y: str, value: str, unit: Unit, xs: Sequence[Any], ys: Sequence[Any]
) -> Figure:
    """Cells by `x` and `y`, in the order of `xs` and `ys`, the first of `ys` at the top; the darker, the more.

    Each cell is a bar: plotly's own heatmaps write style attributes, which the pages' policy refuses.
    """
    found = {(row[x], row[y]): row[value] for row in rows}
    cells = [(across, down, found.get((across, down))) for down in ys for across in xs]
    most = max((float(amount) for _, _, amount in cells if amount is not None), default=0.0)
    place = {down: float(len(ys) - 1 - index) for index, down in enumerate(ys)}
    return {
        "data": [
            {
                "type": "bar",
                "x": [plain(across) for across, _, _ in cells],
                "y": [0.94] * len(cells),
                "base": [place[down] - 0.47 for _, down, _ in cells],
                "width": 0.94,
                "hovertext": [
                    f"{plain(down)} {plain(across)}: {plain(shown(amount, unit))}" for across, down, amount in cells
                ],
                "hoverinfo": "text",
                "marker": {"color": [f"var(--heat{_level(amount, most)})" for _, _, amount in cells]},
            }
        ],
        "layout": {
            "barmode": "overlay",
            "xaxis": {"type": "category", "showgrid": False},
            "yaxis": {
                "tickvals": [place[down] for down in ys],
                "ticktext": [plain(down) for down in ys],
                "showgrid": False,
                "zeroline": False,
            },
            "showlegend": False,
            "height": 90 + 30 * len(ys),
        },
    }


def points(
    rows: Sequence[Row], x: str, y: str, label: str, units: tuple[Unit, Unit], titles: tuple[str, str]
) -> Figure:
    """Points by two numbers, with hover text."""
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": [_position(row[x]) for row in rows],
                "y": [number(row[y]) for row in rows],
                "hovertext": [
                    f"{plain(row[label])}<br>{titles[0]}: {plain(shown(row[x], units[0]))}"
                    f"<br>{titles[1]}: {plain(shown(row[y], units[1]))}"
                    for row in rows
                ],
                "hoverinfo": "text",
                "marker": {"color": SERIES[0], "size": 8, "opacity": 0.75},
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": titles[0]}, **_TICKS.get(units[0], {})},
            "yaxis": {"title": {"text": titles[1]}, **_TICKS.get(units[1], {})},
            "showlegend": False,
        },
    }


def _level(value: Any, most: float) -> int:
    """A colour of a heatmap, 0 for nothing to 5, by the square root: small values differ visibly from nothing."""
    if value is None or value <= 0 or most <= 0:
        return 0
    return min(5, 1 + int(5 * math.sqrt(float(value) / most)))


def axis(unit: Unit, values: Iterable[Any] = ()) -> dict[str, Any]:
    """An axis with ticks of the unit: $0.05, or $5k where values are large."""
    ticks = dict(_TICKS.get(unit, {}))
    if unit == "usd" and max((abs(number(value) or 0.0) for value in values), default=0.0) < 1000:
        ticks["tickformat"] = "~g"
    return ticks


def _position(value: Any) -> Any:
    """A value as a place on an axis."""
    if isinstance(value, dt.date):
        return value.isoformat()
    return float(value) if isinstance(value, int | float | Decimal) else plain(value)


def _short(value: Any, most: int = 34) -> str:
    label = text(value)
    return plain(label if len(label) <= most else f"{label[: most - 1]}…")
