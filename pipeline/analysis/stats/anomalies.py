"""Anomaly rules: days and sessions that are unusually expensive for their own history.

Belongs here: rules on arrays of daily sums and on pairs of one user's or key's sessions, and false-discovery control.
Does not belong here: fences of a whole distribution (interquartile range, standard deviations), which describe a tail
and detect no fault; the causes of an anomaly (`decomposition`); and the choice of days and segments.

All rules work on logarithms, because the noise of cost is multiplicative, and flag high values only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Counts, Floats, check_pairs, quantiles

WEEK = 7
MIN_STL_DAYS = 4 * WEEK  # STL needs at least two periods; its robust weights need about four
STL_THRESHOLD = 5.0
# A day this extreme can attract the first pass of the fit, and the robust passes then never leave it (one day of 20
# times the usual cost in 72 trials). It enters the fit as the median of its weekdays.
MASKING_Z = 10.0
WEEKDAY_WEEKS = 8  # same weekdays for today's expectation
MIN_WEEKDAY_WEEKS = 4
# Iglewicz and Hoaglin (1993). Lower than for STL, whose fit passes through the day itself and so shrinks the scale.
# Here a z of 5 would need a factor of 4 at a daily noise of 25%.
WEEKDAY_THRESHOLD = 3.5
MIN_EXCESS_SHARE = 0.30  # of the expected cost; a smaller excess is no alarm, however regular the history
MAD_TO_SD = 1.4826  # for normal noise
MIN_LOG_SCALE = 0.02  # with less noise than 2%, any change would be an anomaly
SMALLEST_SHARE = 0.01  # of the median, and the least that a day counts: a day without usage needs a logarithm
MAX_ERROR_DAYS = 26 * WEEK  # past errors for the scale of today's: half a year
MAX_IDLE_SHARE = 0.05  # of the days; more are not exceptions
MIN_USED_DAYS = 5  # around a day, and for a scale
ROWS_PER_FREEDOM = 3.0  # the MAD is 37% efficient: as uncertain as the sd of a third of the days
MOST_FREEDOM = 30.0  # daily costs are never exactly lognormal
LEAST_FREEDOM = 1.0  # of Student's t, for noise with heavier tails than assumed
TAIL_QUANTILE = 0.98  # fewer days than the rest have a fault
NORMAL_TAIL_RATIO = 2.326 / 0.6745  # ratio of that quantile to the median, for a half-normal distribution
TOLERANCE_OF_ALL, TOLERANCE_OF_ONE = 0.05, 0.10  # for chance: the standard error for half a year of one segment is 0.1
MIN_TAIL_SCORES = 100  # per side; with fewer, the outermost 2% are too few scores
CENTRED_WEEKS = 4  # same weekdays on either side of a closed day, for its p-value
USER_THRESHOLD = 5.0
MIN_USER_ROWS = 20


@dataclass(frozen=True)
class DayScores:
    """For each day in order: the expectation in the unit of the values, z, its p-value, and whether it is flagged.

    Days without enough history are nan and not flagged.
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
    """P-value of a z scaled by a MAD of `rows` rows; the tails are at least as heavy as `MOST_FREEDOM` implies."""
    from scipy import special

    freedom = np.clip(np.asarray(rows) / ROWS_PER_FREEDOM, 1.0, MOST_FREEDOM)
    return np.asarray(special.stdtr(freedom, -z), dtype=np.float64)


def _independent_share(errors: Floats) -> float:
    """How many independent errors one error is worth when a scale is estimated: 0 to 1.

    (1 - r^2) / (1 + r^2) for a day-to-day correlation r (Bayley and Hammersley, 1946, for the variance). Errors are
    clipped at three robust deviations, so that a single day can neither cause nor hide a correlation.
    """
    scale = _scale(errors)
    clipped = np.clip(errors - np.median(errors), -3 * scale, 3 * scale)
    squares = float(np.dot(clipped, clipped))
    correlation = float(np.dot(clipped[1:], clipped[:-1])) / squares if squares else 0.0
    return (1 - correlation**2) / (1 + correlation**2)


def _centred_errors(logs: Floats) -> tuple[Floats, Floats]:
    """For each day: the median of the same weekdays around it, without the day itself, and its z by the MAD of errors.

    The residuals of STL give no p-values: a fit that follows a day leaves too small a residual, and one that does not
    leaves all of it. Their tail is therefore far heavier than their MAD suggests.
    """
    shifts = [WEEK * week for week in range(-CENTRED_WEEKS, CENTRED_WEEKS + 1) if week]
    padded = np.concatenate((np.full(CENTRED_WEEKS * WEEK, np.nan), logs, np.full(CENTRED_WEEKS * WEEK, np.nan)))
    around = np.array([padded[CENTRED_WEEKS * WEEK + shift :][: len(logs)] for shift in shifts])
    usual = np.nanmedian(around, axis=0)
    errors = logs - usual
    return usual, (errors - np.median(errors)) / _scale(errors)


def _errors_of_used_days(days: Floats, back: int, ahead: int) -> tuple[Floats, Floats]:
    """For each day: the median log of surrounding days with usage, without the day itself, and the error of its log.

    `back` and `ahead` days surround a day. An idle day counts as `SMALLEST_SHARE` of the usual. Both results are nan
    with fewer than `MIN_USED_DAYS` days with usage.
    """
    logs = np.log(days, out=np.full(len(days), np.nan), where=days > 0)
    padded = np.concatenate((np.full(back, np.nan), logs, np.full(ahead, np.nan)))
    around = np.array([padded[shift : shift + len(days)] for shift in range(back + ahead + 1) if shift != back])
    enough = np.isfinite(around).sum(axis=0) >= MIN_USED_DAYS
    usual = np.full(len(days), np.nan)
    usual[enough] = np.nanmedian(around[:, enough], axis=0)
    return usual, np.where(days > 0, logs - usual, np.where(enough, np.log(SMALLEST_SHARE), np.nan))


def _has_idle_days(days: Floats) -> bool:
    """Whether idle days are common: a day is then compared with days with usage, of any weekday.

    Against a median of idle days, any usage would be an anomaly; and next to the step from idle to usage, no fault.
    """
    return bool((days == 0).mean() > MAX_IDLE_SHARE)


def _scores_of_used_days(usual: Floats, errors: Floats, known: Floats) -> tuple[Floats, Floats, Floats]:
    """Expectation, z and p-value of days; their scale is that of the errors of the used days in `known`."""
    known = known[np.isfinite(known)]
    if len(known) < MIN_USED_DAYS:
        empty = np.full(len(usual), np.nan)
        return empty, empty, empty
    bias = float(np.median(known))
    z = (errors - bias) / _scale(known)
    return np.exp(usual + bias), z, _upper_p(z, len(known))


def stl_days(daily: npt.ArrayLike, floor: float = 0.0) -> DayScores:
    """Score each day of a closed history: STL of period 7 on logs, robust (Cleveland and others, 1990), MAD z above 5.

    `daily` holds every day from first to last, 0 for days without usage. A flag also needs an excess above `floor`, in
    the unit of the values, and above 30% of the expectation. `p_value` comes from `_centred_errors`, for tests over
    many segments. Where idle days are common, days with usage within four weeks replace STL. All results are nan with
    fewer than `MIN_STL_DAYS` days or without usage.

    Raises:
        ValueError: a value is negative or not finite.

    """
    days = _check_days(daily)
    if len(days) < MIN_STL_DAYS or not days.any():
        empty = np.full(len(days), np.nan)
        return _scores("stl", days, empty, empty, empty, STL_THRESHOLD, floor)
    if _has_idle_days(days):
        usual, errors = _errors_of_used_days(days, CENTRED_WEEKS * WEEK, CENTRED_WEEKS * WEEK)
        return _scores("stl", days, *_scores_of_used_days(usual, errors, errors[days > 0]), STL_THRESHOLD, floor)
    from statsmodels.tsa.seasonal import STL

    logs = _logs(days)
    usual, z = _centred_errors(logs)
    parts = STL(np.where(z > MASKING_Z, usual, logs), period=WEEK, robust=True).fit()
    fitted = np.asarray(parts.trend + parts.seasonal, dtype=np.float64)
    residuals = logs - fitted
    p_value = _upper_p(z, len(z))
    return _scores("stl", days, np.exp(fitted), residuals / _scale(residuals), p_value, STL_THRESHOLD, floor)


def weekday_days(daily: npt.ArrayLike, floor: float = 0.0) -> DayScores:
    """Score each day by earlier days only: the median of up to eight same weekdays, and the MAD of past errors.

    The online rule: it uses no later day, so scoring a history at once or day by day gives the same result. The scale
    is the MAD of this expectation's errors over the last half year, which includes trend and correlation. Before there
    are four weeks of errors, each day of the window is measured against its own weekday in the other weeks. Where idle
    days are common, the days with usage of the last eight weeks replace the same weekdays. Flags need a z above 3.5 and
    otherwise the same as in `stl_days`. The first `MIN_WEEKDAY_WEEKS` weeks are nan. Raises the same as `stl_days`.
    """
    days = _check_days(daily)
    expected, z, p_value = (np.full(len(days), np.nan) for _ in range(3))
    errors: list[float] = []
    used_usual, used_errors = _errors_of_used_days(days, WEEKDAY_WEEKS * WEEK, 0)
    for today in range(MIN_WEEKDAY_WEEKS * WEEK, len(days)):
        before = slice(max(today - MAX_ERROR_DAYS, 0), today)
        if _has_idle_days(days[before]):
            day, known = slice(today, today + 1), used_errors[before][days[before] > 0]
            expected[day], z[day], p_value[day] = _scores_of_used_days(used_usual[day], used_errors[day], known)
            continue
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
            bias, scale = float(np.median(recent)), _scale(recent)
        else:
            recent = np.array([past[week] - np.median(np.delete(past, week, axis=0), axis=0) for week in range(weeks)])
            recent = recent.ravel()
            bias, scale = 0.0, _scale(recent)
        errors.append(error)
        expected[today] = np.exp(medians[0] + bias)
        z[today] = (error - bias) / scale
        p_value[today] = _upper_p(z[today : today + 1], len(recent) * _independent_share(recent))[0]
    return _scores("weekday", days, expected, z, p_value, WEEKDAY_THRESHOLD, floor)


def _noise_law(scores: Floats, tolerance: float) -> tuple[float, float] | None:
    """Degrees of freedom and scale of a Student's t for the normal scores of mostly clean days; None if normal.

    Faults are on one side only, so the lighter side shows the noise: the distance of its outermost 2% from the median.
    `tolerance` is how much further than for a normal distribution they may be by chance.
    """
    from scipy import special

    finite = scores[np.isfinite(scores)]
    sides = [side for side in (finite[finite > 0], -finite[finite < 0]) if len(side) >= MIN_TAIL_SCORES]
    if not sides:
        return None
    middle, far = min((np.quantile(side, [0.5, TAIL_QUANTILE]) for side in sides), key=lambda ends: ends[1] / ends[0])
    if far / middle <= NORMAL_TAIL_RATIO * (1 + tolerance):
        return None
    freedoms = np.geomspace(LEAST_FREEDOM, MOST_FREEDOM, 200)
    ratios = special.stdtrit(freedoms, (1 + TAIL_QUANTILE) / 2) / special.stdtrit(freedoms, 0.75)
    freedom = float(np.interp(-far / middle, -ratios, freedoms))
    return freedom, middle / float(special.stdtrit(freedom, 0.75))


def allowing_for_tails(p_values: Sequence[npt.ArrayLike]) -> list[Floats]:
    """P-values of the days of each segment, raised where the noise has heavier tails than assumed (Efron, 2004).

    The normal scores of all segments together, and of each segment, are compared with a normal distribution. Where
    either has heavier tails, p comes from a Student's t with such tails, and is never lowered. nan stays nan. At least
    `MIN_TAIL_SCORES` scores per side are needed.
    """
    from scipy import special

    segments = [np.asarray(p, dtype=np.float64) for p in p_values]
    scores = [-special.ndtri(np.clip(p, 1e-300, 1 - 1e-16)) for p in segments]
    of_all = _noise_law(np.concatenate(scores), TOLERANCE_OF_ALL) if scores else None
    raised = []
    for p, score in zip(segments, scores, strict=True):
        for law in (of_all, _noise_law(score, TOLERANCE_OF_ONE)):
            if law:
                p = np.maximum(p, special.stdtr(law[0], -score / law[1]))
        raised.append(p)
    return raised


def benjamini_hochberg(p_values: npt.ArrayLike, rate: float) -> npt.NDArray[np.bool_]:
    """Which tests to reject so that on average at most a share `rate` of the rejections is false (1995).

    Arrays of any shape; nan is no test. Valid for independent and for positively dependent tests.

    Raises:
        ValueError: the rate is outside (0, 1).

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
    """The robust fence of one user or key: values above `limit` are outliers. `median` and `limit` in their unit.

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

    Rows of zero are left out. The fence follows the user's own usage: it ignores sessions that are large only for
    others, and finds a small user's runaway session.

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
