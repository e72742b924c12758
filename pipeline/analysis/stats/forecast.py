"""The total of a running month from daily sums, with intervals that past forecasts have earned.

Belongs here: point forecasts, conformal intervals, and the check of both on a history.
Does not belong here: which series is forecast, and budgets.

The point is what the month has cost so far plus, for each day to come, the mean of the last four same weekdays. The
interval comes from the errors that this forecast made from earlier origins with as many days to come: no law is
assumed.
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
MIN_ETS_DAYS = 8 * WEEK
MIN_ORIGINS = 20  # origins that make an 80% interval; their errors overlap
MAX_ORIGINS = 365
LEVELS = (0.80, 0.95)
ETS_PATHS = 1000
SMALLEST_SHARE = 0.01  # of the median day, added before a logarithm is taken


@dataclass(frozen=True)
class MonthForecast:
    """Total of a month in the unit of the days; intervals are None below `MIN_ORIGINS` earlier origins."""

    method: Literal["weekday", "ets"]
    month: dt.date
    as_of: dt.date
    so_far: float
    days_left: int
    point: float
    low_80: float | None
    high_80: float | None
    low_95: float | None
    high_95: float | None


@dataclass(frozen=True)
class Backtest:
    """How many of the past months ended inside their 80% interval; `low` and `high` bound that share with 95%."""

    hits: int
    months: int
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
    """Expectation of the days after `origin` (exclusive end of what is known), for one week ahead."""
    recent = days[max(origin - MIN_HISTORY_DAYS, 0) : origin]
    weeks = len(recent) // WEEK
    if weeks == 0:
        return np.full(WEEK, float(recent.mean()))
    means: Floats = recent[len(recent) - weeks * WEEK :].reshape(weeks, WEEK).mean(axis=0)
    return means


def _expected(days: Floats, origin: int, horizon: int) -> float:
    """Sum of the expectations of `horizon` days from `origin` on."""
    week = _weekday_means(days, origin)
    return float(np.resize(week, horizon).sum())


def _error_ratios(days: Floats, horizon: int) -> Floats:
    """log(actual / expected) of the sum of `horizon` days from every earlier origin with a full history before it."""
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

    With k independent errors the ranks (k + 1) (1 -+ level) / 2 give the level exactly, whatever the law. Origins one
    day apart share most of their days: k errors are worth about w = k / horizon + 1 of them. The quantiles of the k are
    therefore stretched around their median as those of w normal errors would be: Student's t with w - 1 degrees over
    the normal quantile, by sqrt(1 + 1 / w) for the one to come, and by sqrt(w / (w - 1)) since errors lie nearer to
    their own median than to the true one.
    """
    from scipy import special

    worth = len(ratios) / horizon + 1
    tail = (1 - level) / 2
    stretch = float(special.stdtrit(max(worth - 1, 1.0), 1 - tail) / special.ndtri(1 - tail))
    stretch *= float(np.sqrt((1 + 1 / worth) * worth / (worth - 1)))
    low, middle, high = np.quantile(ratios, [tail, 0.5, 1 - tail])
    return float(middle - stretch * (middle - low)), float(middle + stretch * (high - middle))


def forecast_month(daily: npt.ArrayLike, first_day: dt.date) -> MonthForecast:
    """Forecast the total of the month that holds the day after the last one: so far + means of four same weekdays.

    `daily` holds every day from `first_day` to the last closed one, 0 where nothing was used. With fewer than
    `MIN_ORIGINS` earlier origins, or no usage, there is a point but no interval; with fewer than four weeks the point
    uses the weeks that there are.

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
    ends: list[float | None] = [None] * 4
    if len(ratios) >= MIN_ORIGINS and rest > 0:
        (low_80, high_80), (low_95, high_95) = (_conformal(ratios, left, level) for level in LEVELS)
        ends = [so_far + rest * float(np.exp(end)) for end in (low_80, high_80, low_95, high_95)]
    return MonthForecast("weekday", month, as_of, so_far, left, so_far + rest, *ends)


def forecast_month_ets(daily: npt.ArrayLike, first_day: dt.date, seed: int) -> MonthForecast | None:
    """The same by exponential smoothing of logs: additive error, damped trend, weekly season; intervals from paths.

    The alternative for series with a trend. None below `MIN_ETS_DAYS` days, without usage, or where the fit does not
    converge to finite paths. Raises as `forecast_month`; the same seed gives the same interval.
    """
    days = _check(daily)
    if len(days) < MIN_ETS_DAYS or not days.any():
        return None
    import warnings

    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    simple = forecast_month(days, first_day)
    offset = SMALLEST_SHARE * float(np.median(days[days > 0]))
    model = ETSModel(
        np.log(days + offset), error="add", trend="add", damped_trend=True, seasonal="add", seasonal_periods=WEEK
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = model.fit(disp=False)
        paths = fitted.simulate(
            simple.days_left,
            anchor="end",
            repetitions=ETS_PATHS,
            rng=np.random.default_rng(seed),
        )
    totals = simple.so_far + np.maximum(np.exp(np.asarray(paths, dtype=np.float64)) - offset, 0.0).sum(axis=0)
    if not np.isfinite(totals).all():
        return None
    low_95, low_80, point, high_80, high_95 = (float(end) for end in np.quantile(totals, [0.025, 0.1, 0.5, 0.9, 0.975]))
    return MonthForecast(
        "ets", simple.month, simple.as_of, simple.so_far, simple.days_left, point, low_80, high_80, low_95, high_95
    )


def backtest(daily: npt.ArrayLike, first_day: dt.date, known_days: int = 10) -> Backtest:
    """Check the 80% interval on the closed months of a history, each forecast after its first `known_days` days.

    Only days before the origin are used for it. Months that could not have an interval are not counted. The bounds are
    those of Clopper and Pearson (1934).

    Raises:
        ValueError: as `forecast_month`.

    """
    from scipy import special

    days = _check(daily)
    hits = months = 0
    month = first_day.replace(day=1)
    while True:
        origin = (month - first_day).days + known_days
        end = (_month_end(month) - first_day).days
        if end > len(days):
            break
        start = (month - first_day).days
        if start >= 0 and origin >= 1:
            told = forecast_month(days[:origin], first_day)
            if told.low_80 is not None and told.high_80 is not None:
                months += 1
                hits += told.low_80 <= float(days[start:end].sum()) <= told.high_80
        month = _month_end(month)
    if not months:
        return Backtest(0, 0, None, None)
    low = float(special.betaincinv(hits, months - hits + 1, 0.025)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, months - hits, 0.975)) if hits < months else 1.0
    return Backtest(hits, months, low, high)
