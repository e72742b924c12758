"""Forecast of a month's total from daily sums, with intervals from the errors of past forecasts.

Belongs here: point forecasts, conformal intervals, and the backtest of both.
Does not belong here: which series is forecast, and what is compared with a budget.

The point forecast is the cost so far plus, for each remaining day, the mean of the last four same weekdays. The
interval comes from the errors of the same forecast at earlier origins with equally many days left; it assumes no
distribution.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Floats

WEEK = 7
WEEKS_OF_MEAN = 4
MIN_HISTORY_DAYS = WEEKS_OF_MEAN * WEEK
MIN_BUDGET_DAYS = 8 * WEEK  # fewer do not show how far a month can go astray
MIN_ORIGINS = 20  # origins needed for an 80% interval; their errors overlap
MAX_ORIGINS = 365
LEVELS = (0.80, 0.95)
BUDGET_LEVEL = 0.95  # one-sided: a month exceeds its budget with a chance of 5%


@dataclass(frozen=True)
class MonthForecast:
    """Total of a month in the unit of the days; intervals are None with fewer than `MIN_ORIGINS` earlier origins.

    `budget_95` is enough with a chance of 95%; None with fewer than `MIN_BUDGET_DAYS` days.
    """

    method: Literal["weekday"]
    month: dt.date
    as_of: dt.date
    so_far: float
    days_left: int
    point: float
    low_80: float | None
    high_80: float | None
    low_95: float | None
    high_95: float | None
    budget_95: float | None


@dataclass(frozen=True)
class Backtest:
    """Number of past months within their 80% interval; `low` and `high` are the 95% interval of that share.

    `over_budget` of the `budgets` months that had a budget cost more than it.
    """

    hits: int
    months: int
    over_budget: int
    budgets: int
    low: float | None
    high: float | None


def _check(daily: npt.ArrayLike) -> Floats:
    days = np.asarray(daily, dtype=np.float64)
    if days.ndim != 1 or len(days) == 0 or not np.isfinite(days).all() or (days < 0).any():
        raise ValueError("daily values must be one-dimensional, finite, not negative, and at least one")
    return days


def _month_end(day: dt.date) -> dt.date:
    """First day of the next month."""
    return dt.date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _weekday_means(days: Floats, origin: int) -> Floats:
    """Expectation of each of the 7 days from `origin` (the exclusive end of the known days)."""
    recent = days[max(origin - MIN_HISTORY_DAYS, 0) : origin]
    weeks = len(recent) // WEEK
    if weeks == 0:
        return np.full(WEEK, float(recent.mean()))
    means: Floats = recent[len(recent) - weeks * WEEK :].reshape(weeks, WEEK).mean(axis=0)
    return means


def _expected(days: Floats, origin: int, horizon: int) -> float:
    """Expected sum of the `horizon` days from `origin`."""
    week = _weekday_means(days, origin)
    return float(np.resize(week, horizon).sum())


def _error_ratios(days: Floats, horizon: int) -> Floats:
    """log(actual / expected) of the sum of `horizon` days, for each earlier origin with a full history."""
    origins = np.arange(max(MIN_HISTORY_DAYS, len(days) - horizon - MAX_ORIGINS + 1), len(days) - horizon + 1)
    ratios = []
    sums = np.concatenate(([0.0], np.cumsum(days)))
    for origin in origins:
        expected = _expected(days, int(origin), horizon)
        actual = float(sums[origin + horizon] - sums[origin])
        if expected > 0 and actual > 0:
            ratios.append(np.log(actual / expected))
    return np.array(ratios)


def _conformal(ratios: Floats, horizon: int, level: float) -> tuple[float, float]:
    """Ends of the interval in log(actual / expected).

    With k independent errors the ranks (k + 1) (1 -+ level) / 2 give the level exactly, for any distribution. Origins
    one day apart share most of their days, so k errors are worth about w = k / horizon + 1 independent ones. The
    quantiles of the k errors are therefore stretched around their median as if there were w normal errors: by the ratio
    of Student's t with w - 1 degrees of freedom to the normal quantile, by sqrt(1 + 1 / w) for the next error, and by
    sqrt(w / (w - 1)) because errors are closer to their own median than to the true one.
    """
    from scipy import special

    effective = len(ratios) / horizon + 1
    tail = (1 - level) / 2
    stretch = float(special.stdtrit(max(effective - 1, 1.0), 1 - tail) / special.ndtri(1 - tail))
    stretch *= float(np.sqrt((1 + 1 / effective) * effective / (effective - 1)))
    low, middle, high = np.quantile(ratios, [tail, 0.5, 1 - tail])
    return float(middle - stretch * (middle - low)), float(middle + stretch * (high - middle))


def forecast_month(daily: npt.ArrayLike, first_day: dt.date) -> MonthForecast:
    """Forecast the month of the day after the last one: cost so far + means of four same weekdays.

    `daily` holds every day from `first_day` to the last closed one, 0 for days without usage. With fewer than
    `MIN_ORIGINS` earlier origins, or without usage, there is a point but no interval. With fewer than four weeks the
    point uses the weeks that exist.

    Raises:
        ValueError: no day, or a value is negative or not finite.

    """
    days = _check(daily)
    as_of = first_day + dt.timedelta(days=len(days) - 1)
    today = as_of + dt.timedelta(days=1)
    month = today.replace(day=1)
    left = (_month_end(today) - today).days
    known = min((today - month).days, len(days))
    so_far = float(days[len(days) - known :].sum()) if known else 0.0
    rest = _expected(days, len(days), left)
    ratios = _error_ratios(days, left)
    ends: list[float | None] = [None] * 5
    if len(ratios) >= MIN_ORIGINS and rest > 0:
        (low_80, high_80), (low_95, high_95) = (_conformal(ratios, left, level) for level in LEVELS)
        _, budget = _conformal(ratios, left, 2 * BUDGET_LEVEL - 1)  # the upper end of a two-sided interval of 90%
        ends = [so_far + rest * float(np.exp(end)) for end in (low_80, high_80, low_95, high_95, budget)]
        if len(days) < MIN_BUDGET_DAYS:
            ends[-1] = None
    return MonthForecast("weekday", month, as_of, so_far, left, so_far + rest, *ends)


def backtest(daily: npt.ArrayLike, first_day: dt.date, known_days: int = 10) -> Backtest:
    """Check the 80% interval on each closed month of a history, forecast after its first `known_days` days.

    A forecast uses only days before its origin. Months without an interval are not counted. The bounds are from Clopper
    and Pearson (1934).

    Raises:
        ValueError: the same as `forecast_month`.

    """
    from scipy import special

    days = _check(daily)
    hits = months = over_budget = budgets = 0
    month = first_day.replace(day=1)
    while True:
        origin = (month - first_day).days + known_days
        end = (_month_end(month) - first_day).days
        if end > len(days):
            break
        start = (month - first_day).days
        if start >= 0 and origin >= 1:
            forecast = forecast_month(days[:origin], first_day)
            if forecast.budget_95 is not None:
                budgets += 1
                over_budget += float(days[start:end].sum()) > forecast.budget_95
            if forecast.low_80 is not None and forecast.high_80 is not None:
                months += 1
                hits += forecast.low_80 <= float(days[start:end].sum()) <= forecast.high_80
        month = _month_end(month)
    if not months:
        return Backtest(0, 0, 0, 0, None, None)
    low = float(special.betaincinv(hits, months - hits + 1, 0.025)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, months - hits, 0.975)) if hits < months else 1.0
    return Backtest(hits, months, over_budget, budgets, low, high)
