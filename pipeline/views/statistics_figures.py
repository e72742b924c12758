"""Figures of the statistics page, drawn by plotly in the reader's browser.

Belongs here: the numbers of a figure, its axes and hover text. Does not belong here: any statistic (they are in schema
analysis), the sentences and tables next to the figures (`statistics`), and the script that draws
(templates/statistics.js). Names of segments do not belong here either: plotly interprets `<b>` and `%{x}` in text.

Colours are CSS variables of the page, which the script resolves: light and dark mode share one set of data.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.analysis.days import Series
from pipeline.analysis.distributions import Column
from pipeline.analysis.stats.describe import lorenz_curve
from pipeline.analysis.stats.laws import LAWS
from pipeline.analysis.stats.tails import mean_excess
from pipeline.views.figures import short
from pipeline.words import percent, usd

MAX_POINTS = 90
MAX_FAMILIES = 3
MAX_WEEKS = 53
Row = Mapping[str, Any]

HEIGHT = 310
CELL = 16
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
CLEAR = "rgba(0,0,0,0)"
# Disables the toolbar logo and all functions of plotly that load or send data.
CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,
    "showEditInChartStudio": False,
    "showLink": False,
    "plotlyServerURL": "",
    "topojsonURL": "",
    "modeBarButtons": [["toImage", "resetScale2d"]],
    "toImageButtonOptions": {"filename": "token-analytics", "scale": 2},
}


@dataclass(frozen=True)
class Chart:
    """A figure: its name on the page, its title, a text alternative (`description`), and its data.

    `width` and `height` in pixels; without a width it fills the column. `figure` is plotly's JSON: data and layout.
    """

    name: str
    title: str
    description: str
    figure: dict[str, Any]
    height: int = HEIGHT
    width: int | None = None


def look() -> dict[str, Any]:
    """The shared template of all figures, as plotly's JSON."""
    axis = {
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zerolinecolor": "var(--line)",
        "automargin": True,
        "nticks": 6,
        "ticklabelstandoff": 3,
        "title": {"standoff": 8, "font": {"size": 12}},
    }
    layout = {
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 12, "color": "var(--quiet)"},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
        "hovermode": "closest",
        "hoverdistance": -1,
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--quiet)",
            "font": {"color": "var(--text)"},
            "align": "left",
        },
        "legend": {
            "orientation": "h",
            "entrywidth": 0.5,
            "entrywidthmode": "fraction",
            "yref": "container",
            "yanchor": "bottom",
            "y": 0,
            "font": {"size": 11},
        },
        "modebar": {"bgcolor": CLEAR, "color": "var(--quiet)", "activecolor": "var(--text)"},
        "xaxis": axis,
        "yaxis": axis,
    }
    return {"layout": layout}


def distribution(name: str, column: Column, tail: Row, fits: Sequence[Row]) -> tuple[Chart, ...]:
    """Survival with fits and cap, mean excess and Lorenz curve, as far as the column allows."""
    drawn = (_survival(name, column, tail, fits), _mean_excess(name, column), _lorenz(name, column))
    return tuple(chart for chart in drawn if chart is not None)


def calendar(name: str, series: Series | None, flagged: Sequence[Row]) -> Chart | None:
    """The days of the last year: a column per week, a row per weekday, flagged days framed."""
    if series is None or not len(series.days):
        return None
    flagged_days: dict[dt.date, list[Row]] = {}
    for row in flagged:
        flagged_days.setdefault(row["usage_date"], []).append(row)
    positive = series.days[series.days > 0]
    edges = np.quantile(positive, [0.25, 0.5, 0.75]) if len(positive) else np.zeros(3)
    last = series.date(len(series.days) - 1)
    first = max(series.first_day, last - dt.timedelta(days=MAX_WEEKS * 7 - 1))
    monday = first - dt.timedelta(days=first.weekday())
    weeks = (last - monday).days // 7 + 1
    levels: list[list[int | None]] = [[None] * weeks for _ in WEEKDAYS]
    hover_texts: list[list[str]] = [[""] * weeks for _ in WEEKDAYS]
    frames = []
    for place in range((first - series.first_day).days, len(series.days)):
        day, cost = series.date(place), float(series.days[place])
        week, weekday = (day - monday).days // 7, day.weekday()
        levels[weekday][week] = 0 if cost <= 0 else 1 + int(np.searchsorted(edges, cost))
        hover_texts[weekday][week] = f"{WEEKDAYS[weekday]} {day}: {usd(cost)}"
        if day in flagged_days:
            expected = flagged_days[day][0]["expected"]
            hover_texts[weekday][week] += "<br>flagged" + ("" if expected is None else f", expected {usd(expected)}")
            middle, half = monday + dt.timedelta(weeks=week), dt.timedelta(days=3, hours=12)
            noon = dt.datetime.combine(middle, dt.time())
            frames.append(
                {
                    "type": "rect",
                    "x0": f"{noon - half:%Y-%m-%d %H:%M}",
                    "x1": f"{noon + half:%Y-%m-%d %H:%M}",
                    "y0": weekday - 0.5,
                    "y1": weekday + 0.5,
                    "line": {"color": "var(--flag)", "width": 2},
                }
            )
    heat = _trace(
        "heatmap",
        x=[str(monday + dt.timedelta(weeks=week)) for week in range(weeks)],
        y=list(range(7)),
        z=levels,
        customdata=hover_texts,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        zmin=0,
        zmax=4,
        colorscale=[[level / 4, f"var(--l{level})"] for level in range(5)],
        showscale=False,
        xgap=3,
        ygap=3,
    )
    layout = {
        "shapes": frames,
        "dragmode": False,
        # fixed margins (no `automargin`) keep each cell a square of `CELL` pixels
        "margin": {"l": 44, "r": 8, "t": 4, "b": 44},
        "xaxis": {"dtick": "M1", "tickformat": "%b\n%Y", "showgrid": False, "fixedrange": True, "automargin": False},
        "yaxis": {
            "tickvals": [0, 2, 4, 6],
            "ticktext": list(WEEKDAYS[::2]),
            "range": [6.6, -0.6],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
            "automargin": False,
        },
    }
    shown = sum(1 for day in flagged_days if day >= first)
    return Chart(
        f"{name}-calendar",
        "Days (darker is more expensive; framed: flagged)",
        f"Calendar of the days from {first} to {last}, UTC; {shown or 'none'} flagged.",
        _figure([heat], layout),
        height=7 * CELL + 51,
        width=max(weeks * CELL + 52, 240),
    )


def forecast(name: str, rows: Sequence[Row]) -> Chart | None:
    """The month's forecast by each method, with its intervals of 80% and 95% if it has any; None if all is 0."""
    highest = max((row["high_95"] or row["point"] for row in rows), default=0.0)
    if highest <= 0:
        return None
    label = {id(row): f"{row['method'].replace('_', ' ')}<br>{row['month']:%b %Y}" for row in rows}
    traces = []
    for level, width in ((95, 0.34), (80, 0.62)):
        with_interval = [row for row in rows if row[f"low_{level}"] is not None and row[f"high_{level}"] is not None]
        ends = [(row[f"low_{level}"], row[f"high_{level}"]) for row in with_interval]
        if with_interval:
            traces.append(
                _trace(
                    "bar",
                    name=f"{level}% interval",
                    orientation="h",
                    y=[label[id(row)] for row in with_interval],
                    base=[low for low, _ in ends],
                    x=[high - low for low, high in ends],
                    width=width,
                    customdata=[[low, high] for low, high in ends],
                    hovertemplate=(
                        f"{level}% interval: %{{customdata[0]:$,.2f}} to %{{customdata[1]:$,.2f}}<extra></extra>"
                    ),
                    marker={"color": f"var(--in{level})", "line": {"width": 0}},
                )
            )
    traces.append(
        _trace(
            "scatter",
            name="forecast",
            mode="markers",
            x=[row["point"] for row in rows],
            y=[label[id(row)] for row in rows],
            marker={"color": "var(--text)", "symbol": "diamond", "size": 9},
            cliponaxis=False,
            hovertemplate="forecast %{x:$,.2f}<extra></extra>",
        )
    )
    layout = {
        "barmode": "overlay",
        "legend": {"entrywidth": 90, "entrywidthmode": "pixels"},
        "xaxis": {"title": {"text": "USD in the month"}, "rangemode": "tozero", "tickformat": _ticks(highest, True)},
        "yaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [label[id(row)] for row in rows],
            "range": [len(rows) - 0.5, -0.5],
            "showgrid": False,
        },
    }
    first = rows[0]
    description = f"Forecast of {first['month']:%B %Y}: {usd(first['point'])}"
    if first["low_95"] is not None and first["high_95"] is not None:
        description += f", 95% interval {usd(first['low_95'])} to {usd(first['high_95'])}"
    return Chart(
        f"{name}-forecast",
        "Forecast of the month with its intervals",
        f"{description}, by {first['method'].replace('_', ' ')}.",
        _figure(traces, layout),
        height=110 + 52 * len(rows),
    )


def _survival(name: str, column: Column, tail: Row, fits: Sequence[Row]) -> Chart | None:
    x, c = column.values[column.values > 0], column.counts[column.values > 0]
    if len(x) < 2:
        return None
    noun, is_cost = column.measure.noun, column.measure.is_cost
    amount = _amount(is_cost, "x")
    n = int(c.sum())
    survival = np.cumsum(c[::-1])[::-1] / n
    low, high, least = float(x[0]), float(x[-1]), 0.5 * float(survival[-1])
    kept = _thinned(len(x))
    traces = [
        _trace(
            "scatter",
            name="observed",
            x=x[kept].tolist(),
            y=survival[kept].tolist(),
            mode="lines+markers",
            line={"color": "var(--data)", "width": 2},
            marker={"size": 4},
            hovertemplate=f"%{{y:.3~p}} of {noun}s: {amount} or more<extra></extra>",
        )
    ]
    grid = np.geomspace(low, high, 60)
    treatment = fits[0]["treatment"] if fits else ""
    chosen = [fit for fit in fits if fit["treatment"] == treatment and fit["selectable"]][:MAX_FAMILIES]
    families = []
    for number, fit in enumerate(chosen):
        law = np.exp(LAWS[fit["family"]].log_survival(json.loads(fit["params"]), grid))
        is_shown = np.isfinite(law) & (law >= least)
        if is_shown.sum() > 1:
            families.append(fit["family"].replace("_", " "))
            traces.append(
                _trace(
                    "scatter",
                    name=families[-1].replace(" ", "<br>"),  # long names do not fit half of a narrow figure
                    x=grid[is_shown].tolist(),
                    y=law[is_shown].tolist(),
                    mode="lines",
                    line={"color": f"var(--fit{number})", "width": 1.5, "dash": ("solid", "dash", "dot")[number]},
                    hovertemplate=f"{families[-1]}: %{{y:.3~p}} at {amount} or more<extra></extra>",
                )
            )
    cap = tail["cap_value"]
    if cap is not None:
        traces.append(
            _trace(
                "scatter",
                name=f"cap {_short(cap, is_cost)}",
                x=[float(cap)] * 2,
                y=[least, 1.0],
                mode="lines",
                line={"color": "var(--flag)", "width": 1.5, "dash": "dashdot"},
                hovertemplate=f"cap: {amount}<extra></extra>",
            )
        )
    amounts = ("$~s" if low >= 1 else "$,~r") if is_cost else "~s"
    layout = {
        "xaxis": _log_axis(low, high, f"{'USD' if is_cost else 'tokens'} per {noun}, logarithmic", amounts),
        "yaxis": _log_axis(least, 1.0, f"share of {noun}s", "~%"),
    }
    fitted = f"; fitted: {', '.join(families)}" if families else ""
    capped = "" if cap is None else f"; cap at {_short(cap, is_cost)}"
    described = (
        f"Share of {n:,} {noun}s at or above an amount, on logarithmic axes, from {_short(low, is_cost)} to "
        f"{_short(high, is_cost)}{fitted}{capped}."
    )
    return Chart(f"{name}-survival", f"Share of {noun}s at or above an amount", described, _figure(traces, layout))


def _mean_excess(name: str, column: Column) -> Chart | None:
    thresholds, excess = mean_excess(column.values, column.counts)
    if len(thresholds) < 2 or float(excess.max()) <= 0:
        return None
    noun, is_cost = column.measure.noun, column.measure.is_cost
    kept = _thinned(len(thresholds))
    x, y = thresholds[kept], excess[kept]
    line = _trace(
        "scatter",
        x=x.tolist(),
        y=y.tolist(),
        mode="lines+markers",
        line={"color": "var(--data)", "width": 2},
        marker={"size": 4},
        hovertemplate=(
            f"{noun}s above {_amount(is_cost, 'x')}<br>exceed it by {_amount(is_cost, 'y')} on average<extra></extra>"
        ),
    )
    unit = "USD" if is_cost else "tokens"
    layout = {
        "xaxis": {"title": {"text": f"threshold, {unit}"}, "tickformat": _ticks(float(x[-1]), is_cost)},
        "yaxis": {
            "title": {"text": f"mean excess, {unit}"},
            "rangemode": "tozero",
            "tickformat": _ticks(float(y.max()), is_cost),
        },
    }
    described = (
        f"Average excess of {noun}s over a threshold: {_short(float(y[0]), is_cost)} above "
        f"{_short(float(x[0]), is_cost)}, {_short(float(y[-1]), is_cost)} above {_short(float(x[-1]), is_cost)}."
    )
    return Chart(f"{name}-excess", "Mean excess over a threshold (rising: heavy)", described, _figure([line], layout))


def _lorenz(name: str, column: Column) -> Chart | None:
    curve = lorenz_curve(column.values, column.counts, 51)
    if curve is None:
        return None
    noun, kind = column.measure.noun, "cost" if column.measure.is_cost else "tokens"
    shares, held = curve
    even = _trace(
        "scatter",
        name="all equal",
        x=[0.0, 1.0],
        y=[0.0, 1.0],
        mode="lines",
        line={"color": "var(--quiet)", "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
    line = _trace(
        "scatter",
        name="observed",
        x=shares.tolist(),
        y=held.tolist(),
        mode="lines",
        line={"color": "var(--data)", "width": 2},
        hovertemplate=f"the smallest %{{x:.0%}} of {noun}s<br>hold %{{y:.3~p}} of the {kind}<extra></extra>",
    )
    share = {"range": [0, 1.01], "tickformat": ".0%", "dtick": 0.25}
    layout = {
        "xaxis": {"title": {"text": f"share of {noun}s, smallest first"}, **share},
        "yaxis": {"title": {"text": f"share of the {kind}"}, **share},
    }
    half = float(np.interp(0.5, shares, held))
    described = f"Lorenz curve: the smaller half of the {noun}s holds {percent(half)} of the {kind}."
    return Chart(f"{name}-lorenz", "Lorenz curve: how the sum is shared", described, _figure([even, line], layout))


def _thinned(count: int) -> Any:
    """Indices of at most `MAX_POINTS` of `count` points, dense in the tail."""
    if count <= MAX_POINTS:
        return np.arange(count)
    return np.unique(count - 1 - np.unique(np.geomspace(1, count, MAX_POINTS).astype(int) - 1))


def _short(value: float, is_cost: bool) -> str:
    return usd(value) if is_cost else f"{short(value)} tokens"


def _amount(is_cost: bool, axis: str) -> str:
    """Plotly's placeholder for an amount of the axis in a hover text."""
    return f"%{{{axis}:$,.4~r}}" if is_cost else f"%{{{axis}:,.4~r}} tokens"


def _ticks(highest: float, is_cost: bool) -> str:
    """The d3 format of the ticks of a linear axis: dollars in decimals, thousands as k and M."""
    return ("$" if is_cost else "") + ("~s" if highest >= 1000 or not is_cost else "~r")


def _log_axis(low: float, high: float, title: str, ticks: str) -> dict[str, Any]:
    """A logarithmic axis with ticks at decades; at 1, 2 and 5 if there are few; automatic within one decade."""
    a, b = float(np.log10(low)), float(np.log10(high))
    pad = 0.03 * (b - a)
    decades = np.floor(b) - np.ceil(a) + 1
    step: Row = {"nticks": 4}
    if b - a >= 1:
        step = {"dtick": "D2" if decades < 2 else int(-(-decades // 5))}
    return {"type": "log", "title": {"text": title}, "range": [a - pad, b + pad], "tickformat": ticks, **step}


def _trace(kind: str, **attributes: Any) -> dict[str, Any]:
    """A trace of a figure as plotly's JSON."""
    return {"type": kind, **attributes}


def _figure(traces: Sequence[dict[str, Any]], layout: Mapping[str, Any]) -> dict[str, Any]:
    """A figure as plotly's JSON, without the shared template."""
    return {"data": list(traces), "layout": dict(layout)}
