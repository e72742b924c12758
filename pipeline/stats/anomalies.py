"""Days and conversations that stand out from their own history.

Belongs here: rules on arrays of daily sums and on pairs of one user's or key's sessions, and the control of false
alarms over many tests.
Does not belong here: fences of a whole distribution (interquartile range, standard deviations), which describe a tail
rather than find a fault; why a day stands out (`decomposition`); and which days and segments are looked at.

All rules work on logarithms, since noise of cost is multiplicative, and flag high values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.stats.describe import Counts, Floats, check_pairs, quantiles

WEEK = 7
MIN_STL_DAYS = (
    4 * WEEK
)  # two periods is the least that STL takes; with four the robust weights have something to compare
STL_THRESHOLD = 5.0
# A day so far out may draw the first pass of the fit to itself, which the robust passes then never leave: one day of 20
# times the usual in 72 trials. It enters the fit as the median of its weekdays.
MASKING_Z = 10.0
WEEKDAY_WEEKS = 8  # same weekdays that make today's expectation
MIN_WEEKDAY_WEEKS = 4
# Iglewicz and Hoaglin (1993). Lower than that of STL: the scale of an expectation from past days alone is not shrunk by
# a fit through the day itself, so that a z of 5 would ask for a factor of 4 at a daily noise of 25%.
WEEKDAY_THRESHOLD = 3.5
MIN_EXCESS_SHARE = 0.30  # of the expected; less is no alarm, however regular the history
MAD_TO_SD = 1.4826  # for normal noise
MIN_LOG_SCALE = 0.02  # days regular to 2% would make any change infinitely surprising
SMALLEST_SHARE = 0.01  # of the median: days below count as that much, so that a day without usage has a logarithm
MAX_ERROR_DAYS = 26 * WEEK  # past errors that make the scale of today's: half a year
ROWS_PER_FREEDOM = 3.0  # the MAD is 37% efficient: as uncertain as an sd from a third of the days
MOST_FREEDOM = 30.0  # days are never quite lognormal
CENTRED_WEEKS = 4  # same weekdays on either side of a closed day that make its p-value
USER_THRESHOLD = 5.0
MIN_USER_ROWS = 20


@dataclass(frozen=True)
class DayScores:
    """Per day, in their order: the expectation in the unit of the values, z, its p, and whether the day is flagged.

    Days without enough history have nan, and are not flagged.
    """

    method: Literal["stl", "weekday"]
    expected: Floats
    z: Floats
    p_value: Floats
    flagged: npt.NDArray[np.bool_]


def _logs(days: Floats) -> Floats:
    positive = days[days > 0]
    least = SMALLEST_SHARE * float(np.median(positive)) if len(positive) else 1.0
    logs: Floats = np.log(np.maximum(days, least))
    return logs


def _check_days(daily: npt.ArrayLike) -> Floats:
    days = np.asarray(daily, dtype=np.float64)
    if days.ndim != 1 or not np.isfinite(days).all() or (days < 0).any():
        raise ValueError("daily values must be one-dimensional, finite and not negative; a day without usage is 0")
    return days


def _scores(
    method: Literal["stl", "weekday"],
    days: Floats,
    expected: Floats,
    z: Floats,
    p_value: Floats,
    threshold: float,
    floor: float,
) -> DayScores:
    excess = days - expected
    with np.errstate(invalid="ignore"):
        flagged = (z > threshold) & (excess > floor) & (excess > MIN_EXCESS_SHARE * expected)
    return DayScores(method, expected, z, p_value, flagged)


def _scale(residuals: Floats) -> float:
    """Robust standard deviation around the median, at least `MIN_LOG_SCALE`."""
    return max(MAD_TO_SD * float(np.median(np.abs(residuals - np.median(residuals)))), MIN_LOG_SCALE)


def _upper_p(z: Floats, rows: npt.ArrayLike) -> Floats:
    """P of a z whose scale is a MAD of so many rows, with tails no thinner than `MOST_FREEDOM` allows."""
    from scipy import special

    freedom = np.clip(np.asarray(rows) / ROWS_PER_FREEDOM, 1.0, MOST_FREEDOM)
    return np.asarray(special.stdtr(freedom, -z), dtype=np.float64)


def _left_out(logs: Floats) -> tuple[Floats, Floats]:
    """The median of the same weekdays around each day, itself left out, and the z of the day; errors have their MAD.

    The residuals of STL do not serve for p-values: a fit that follows a day leaves too little of it, and where it does
    not follow one it leaves all, so that their tail is far heavier than their MAD says.
    """
    shifts = [WEEK * week for week in range(-CENTRED_WEEKS, CENTRED_WEEKS + 1) if week]
    padded = np.concatenate((np.full(CENTRED_WEEKS * WEEK, np.nan), logs, np.full(CENTRED_WEEKS * WEEK, np.nan)))
    around = np.array([padded[CENTRED_WEEKS * WEEK + shift :][: len(logs)] for shift in shifts])
    usual = np.nanmedian(around, axis=0)
    errors = logs - usual
    return usual, (errors - np.median(errors)) / _scale(errors)


def stl_days(daily: npt.ArrayLike, floor: float = 0.0) -> DayScores:
    """Score each day of a closed history: STL of period 7 on logs, robust (Cleveland and others, 1990), MAD z above 5.

    `daily` holds every day from first to last, 0 where there was no usage. A flag also needs an excess above `floor`,
    in the unit of the values, and above 30% of the expected. `p_value` is that of `_left_out`, for use over many
    segments. All nan below `MIN_STL_DAYS` days or where no day has usage.

    Raises:
        ValueError: a value is negative or not finite.

    """
    days = _check_days(daily)
    if len(days) < MIN_STL_DAYS or not days.any():
        nothing = np.full(len(days), np.nan)
        return _scores("stl", days, nothing, nothing, nothing, STL_THRESHOLD, floor)
    from statsmodels.tsa.seasonal import STL

    logs = _logs(days)
    usual, z = _left_out(logs)
    parts = STL(np.where(z > MASKING_Z, usual, logs), period=WEEK, robust=True).fit()
    fitted = np.asarray(parts.trend + parts.seasonal, dtype=np.float64)
    residuals = logs - fitted
    p_value = _upper_p(z, len(z))
    return _scores("stl", days, np.exp(fitted), residuals / _scale(residuals), p_value, STL_THRESHOLD, floor)


def weekday_days(daily: npt.ArrayLike, floor: float = 0.0) -> DayScores:
    """Score each day by what lay before it: the median of up to eight same weekdays, and the MAD of past errors.

    The rule for today: no later day is looked at, so that a history scored at once and day by day is the same. The
    scale is that of the errors that this expectation made in the last half year, which counts trend and correlation in;
    until there are four weeks of them it is pooled over the window, each weekday around its own median, with a
    correction for the few weeks that make a median. Flags as `stl_days`, above a z of 3.5; nan in the first
    `MIN_WEEKDAY_WEEKS` weeks. Raises as `stl_days`.
    """
    days = _check_days(daily)
    expected, z, p_value = (np.full(len(days), np.nan) for _ in range(3))
    errors: list[float] = []
    for today in range(MIN_WEEKDAY_WEEKS * WEEK, len(days)):
        weeks = min(today // WEEK, WEEKDAY_WEEKS)
        window = days[today - weeks * WEEK : today]
        if not window.any():
            continue
        past = _logs(window).reshape(weeks, WEEK)
        medians = np.median(past, axis=0)
        least = SMALLEST_SHARE * float(np.median(window[window > 0]))
        error = float(np.log(max(days[today], least)) - medians[0])
        if len(errors) >= MIN_WEEKDAY_WEEKS * WEEK:
            recent = np.array(errors[-MAX_ERROR_DAYS:])
            bias, scale, rows = float(np.median(recent)), _scale(recent), len(recent)
        else:
            correction = float(np.sqrt((1 + np.pi / 2 / weeks) / (1 - 1 / weeks)))
            bias, scale, rows = 0.0, _scale((past - medians).ravel()) * correction, len(window)
        errors.append(error)
        expected[today] = np.exp(medians[0] + bias)
        z[today] = (error - bias) / scale
        p_value[today] = _upper_p(z[today : today + 1], rows)[0]
    return _scores("weekday", days, expected, z, p_value, WEEKDAY_THRESHOLD, floor)


def benjamini_hochberg(p_values: npt.ArrayLike, rate: float) -> npt.NDArray[np.bool_]:
    """Which tests to reject so that at most a share `rate` of the rejections is false, on average (1995).

    Any shape; nan is no test. Holds for independent and for positively dependent tests.

    Raises:
        ValueError: the rate lies outside (0, 1).

    """
    if not 0 < rate < 1:
        raise ValueError("a false-discovery rate must lie between 0 and 1")
    p = np.asarray(p_values, dtype=np.float64)
    tested = p[np.isfinite(p)]
    ordered = np.sort(tested)
    within = np.flatnonzero(ordered <= rate * np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
    limit = ordered[within[-1]] if len(within) else -np.inf
    with np.errstate(invalid="ignore"):
        rejected: npt.NDArray[np.bool_] = p <= limit
    return rejected


@dataclass(frozen=True)
class UserRule:
    """The robust fence of one user or key: values above `limit` stand out; `median` and `limit` in their unit.

    `scale` is the robust standard deviation of the logs: z = log(value / median) / scale.
    """

    median: float
    scale: float
    limit: float

    def z(self, values: npt.ArrayLike) -> Floats:
        """Robust z of positive values."""
        scores: Floats = np.log(np.asarray(values, dtype=np.float64) / self.median) / self.scale
        return scores


def user_rule(values: npt.ArrayLike, counts: npt.ArrayLike) -> UserRule | None:
    """Median + 5 MAD of log cost of one user's or key's sessions, from their pairs; None below `MIN_USER_ROWS` rows.

    Rows of zero are left out. Measured against the user's own habits, a session that is large for everyone else is no
    finding, and a small user's runaway session is one.

    Raises:
        ValueError: the pairs are malformed.

    """
    x, c = check_pairs(values, counts)
    x, c = x[x > 0], c[x > 0]
    if int(c.sum()) < MIN_USER_ROWS:
        return None
    logs = np.log(x)
    middle = float(quantiles(logs, c, 0.5)[0])
    scale = max(MAD_TO_SD * _weighted_median(np.abs(logs - middle), c), MIN_LOG_SCALE)
    return UserRule(float(np.exp(middle)), scale, float(np.exp(middle + USER_THRESHOLD * scale)))


def _weighted_median(values: Floats, counts: Counts) -> float:
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(counts[order])
    return float(values[order][np.searchsorted(upto, upto[-1] / 2)])
