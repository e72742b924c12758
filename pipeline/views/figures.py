"""Figures of the pricing page: lines, dots and ticks of a plot in units of its view box; figure.html.j2 draws it.

Belongs here: scales, ticks and SVG paths of any plot. Does not belong here: the plots of a page (`contracts`), colours
(templates), and the figures of the statistics page (`statistics_figures`), which plotly draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 240, 52, 18, 10, 30
# Geometry of the view box, for the template.
BOX = {
    "width": WIDTH,
    "height": HEIGHT,
    "left": LEFT,
    "right": WIDTH - RIGHT,
    "base": HEIGHT - BOTTOM,
    "top": TOP,
}


@dataclass(frozen=True)
class Plot:
    """Paths (class, d, name), ticks (position, text), a vertical mark (position, text), and dots (class, x, y, text).

    `description` is a text alternative of the plot.
    """

    title: str
    paths: tuple[tuple[str, str, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    mark: tuple[float, str] | None = None
    dots: tuple[tuple[str, float, float, str], ...] = ()
    description: str = ""


def short(value: float) -> str:
    """A number in the format of axis labels."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def figure(
    title: str,
    lines: Sequence[tuple[str, Floats, Floats, str]],
    logs: tuple[bool, bool],
    ends: tuple[float, float, float, float],
    mark: tuple[float, str] | None = None,
    *,
    dots: Sequence[tuple[str, float, float, str]] = (),
    shown: tuple[Callable[[float], str], Callable[[float], str]] = (short, short),
    description: str = "",
) -> Plot:
    """A plot of `lines` (class, x, y, name in the legend), in the units of the data.

    `ends`: lowest and highest x, then y; values beyond are drawn at the edge. `logs`: which axes are logarithmic.
    `mark`: an x and its label. `dots`: class, x, y, and hover text. `shown`: the formats of the ticks of x and y.
    """
    across = _axis(ends[0], ends[1], logs[0], LEFT, WIDTH - RIGHT)
    up = _axis(ends[2], ends[3], logs[1], HEIGHT - BOTTOM, TOP)
    return Plot(
        title,
        tuple((kind, _path(across(x), up(y)), name) for kind, x, y, name in lines),
        tuple((float(across(tick)), shown[0](tick)) for tick in _ticks(ends[0], ends[1], logs[0])),
        tuple((float(up(tick)), shown[1](tick)) for tick in _ticks(ends[2], ends[3], logs[1])),
        None if mark is None else (float(across(mark[0])), mark[1]),
        tuple((kind, float(across(x)), float(up(y)), text) for kind, x, y, text in dots),
        description,
    )


def _axis(low: float, high: float, is_log: bool, start: float, end: float) -> Callable[[Any], Floats]:
    """A function from values to positions between `start` and `end` of the view box."""
    a, b = (np.log10(low), np.log10(high)) if is_log else (low, high)
    span = (b - a) or 1.0

    def place(values: Any) -> Floats:
        array = np.asarray(values, dtype=np.float64)
        scaled = np.log10(np.maximum(array, low)) if is_log else array
        return np.asarray(start + (np.clip(scaled, a, b) - a) / span * (end - start), dtype=np.float64)

    return place


def _ticks(low: float, high: float, is_log: bool) -> list[float]:
    if is_log:
        decades = np.arange(np.ceil(np.log10(low)), np.floor(np.log10(high)) + 1)
        return [float(10.0**decade) for decade in decades[:: max(1, -(-len(decades) // 5))]] or [low, high]
    return [low + (high - low) * part / 2 for part in range(3)]


def _path(x: Floats, y: Floats) -> str:
    return " ".join(f"{'L' if n else 'M'}{a:.1f} {b:.1f}" for n, (a, b) in enumerate(zip(x, y, strict=True)))
