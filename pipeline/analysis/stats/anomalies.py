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
FALSE_ALARM_RATE = 0.005  # of one rule on the days of one series: one false alarm in 200 days
TREE_RATE = 0.0075  # of false discoveries among all series of one day
MIN_EXCESS_SHARE = 0.30  # of the expected cost; a smaller excess is no alarm, however regular the history
USUAL_DAYS = 4 * WEEK  # before a day; their median is a usual day
MIN_EXCESS_DAYS = 0.5  # usual days that an excess must reach: three times a quiet Sunday is no alarm
MAD_TO_SD = 1.4826  # for normal noise
MIN_LOG_SCALE = 0.02  # with less noise than 2%, any change would be an anomaly
SMALLEST_SHARE = 0.01  # of the median, and the least that a day counts: a day without usage needs a logarithm
MAX_ERROR_DAYS = 26 * WEEK  # past errors for the scale of today's: half a year
MAX_IDLE_SHARE = 0.05  # of the days; more are not exceptions
MIN_USED_DAYS = 5  # around a day, and for a scale
ROWS_PER_FREEDOM = 3.0  # the MAD is 37% efficient: as uncertain as the sd of a third of the days
MOST_FREEDOM = 30.0  # daily costs are never exactly lognormal
TAIL_SHARE = 0.2  # of the errors: their excess over the rest is the tail
# Shape of a generalized Pareto law of log errors: 0 for an exponential tail, 0.2 for Student's t with 5 degrees of
# freedom, below 0 for normal noise. A few dozen errors cannot tell these apart, so it is fixed on the safe side.
TAIL_SHAPE = 0.05
TRIMMED_SHARE = 0.05  # of the excesses: earlier shocks must not hide the next one
# The mean of the rest, of an exponential law of mean 1.
TRIMMED_MEAN = 1 + TRIMMED_SHARE * float(np.log(TRIMMED_SHARE)) / (1 - TRIMMED_SHARE)
WEIGHT_OF_ALL_WEEKDAYS = 30  # errors that the common scale counts for in the scale of a weekday
SHIFT_SLACK = 0.75  # robust deviations a day that a level may be off: half of the smallest shift worth finding
SHIFT_LIMIT = 6.0  # of their sum beyond the slack (Page, 1954)
MOST_OF_A_DAY = 2.5  # that one day adds to the sum: a shock of a day is no shift
SHIFT_DAYS = 3  # the fewest days of a shift
CENTRED_WEEKS = 4  # same weekdays on either side of a closed day, for its p-value
USER_THRESHOLD = 5.0
MIN_USER_ROWS = 20


@dataclass(frozen=True)
class Shift:
    """A level that changed: the index of its first day and of the day that showed it, and the factor."""

    first: int
    shown: int
    factor: float


@dataclass(frozen=True)
class DayScores:
    """For each day in order: the expectation in the unit of the values, z, its p-value, and whether it is flagged.

    Days without enough history are nan and not flagged. `is_large` tells whether the excess is large enough in money;
    `flagged` also asks for a p-value of at most `FALSE_ALARM_RATE`. `shifts` are in the order in which they were shown.
    """

    method: Literal["stl", "weekday"]
    expected: Floats
    z: Floats
    p_value: Floats
    is_large: npt.NDArray[np.bool_]
    flagged: npt.NDArray[np.bool_]
    shifts: tuple[Shift, ...] = ()


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


def _usual_days(days: Floats) -> Floats:
    """For each day the median of the used days among the `USUAL_DAYS` before it; the first ones share a median."""
    if len(days) <= USUAL_DAYS:
        return np.zeros(len(days))  # no rule judges so few
    used = np.where(days > 0, days, np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(used[:-1], USUAL_DAYS)
    medians = np.nanmedian(np.where(np.isfinite(windows).any(axis=1)[:, None], windows, 0.0), axis=1)
    return np.concatenate((np.full(USUAL_DAYS, medians[0]), medians))


def _scores(
    method: Literal["stl", "weekday"],
    days: Floats,
    expected: Floats,
    z: Floats,
    p_value: Floats,
    floor: float,
    shifts: Sequence[Shift] = (),
) -> DayScores:
    excess = days - expected
    with np.errstate(invalid="ignore"):
        is_large = (
            (excess > floor) & (excess > MIN_EXCESS_SHARE * expected) & (excess > MIN_EXCESS_DAYS * _usual_days(days))
        )
        flagged = is_large & (p_value <= FALSE_ALARM_RATE)
        if method == "stl":
            flagged &= z > STL_THRESHOLD
    return DayScores(method, expected, z, p_value, is_large, flagged, tuple(shifts))


def _scale(residuals: Floats) -> float:
    """Robust standard deviation around the median, at least `MIN_LOG_SCALE`."""
    return max(MAD_TO_SD * float(np.median(np.abs(residuals - np.median(residuals)))), MIN_LOG_SCALE)


def _upper_p(z: Floats, rows: npt.ArrayLike) -> Floats:
    """P-value of a z scaled by a MAD of `rows` rows; the tails are at least as heavy as `MOST_FREEDOM` implies."""
    from scipy import special

    freedom = np.clip(np.asarray(rows) / ROWS_PER_FREEDOM, 1.0, MOST_FREEDOM)
    return np.asarray(special.stdtr(freedom, -z), dtype=np.float64)


def tail_p(known: Floats, errors: Floats) -> Floats:
    """P-values of errors above those that are known: the chance of one as large or larger. nan stays nan.

    Up to the largest fifth it is the share of the known errors. Beyond it is a generalized Pareto law of the excesses
    over that fifth (Pickands, 1975), which resolves p-values far below 1 / n. Its shape is `TAIL_SHAPE` + 1 / k for k
    excesses: with an estimated scale, the predictive law of an exponential tail is a Pareto law of shape 1 / k.
    """
    ordered = np.sort(known)
    shares = (len(ordered) - np.searchsorted(ordered, errors) + 1) / (len(ordered) + 1)
    threshold = float(np.quantile(ordered, 1 - TAIL_SHARE))
    above = ordered[ordered > threshold] - threshold
    if len(above):
        scale = float(above[: max(int(len(above) * (1 - TRIMMED_SHARE)), 1)].mean()) / TRIMMED_MEAN
        shape = TAIL_SHAPE + 1 / len(above)
        distances = np.maximum(errors - threshold, 0.0) / max(scale, MIN_LOG_SCALE)
        tail = len(above) / len(ordered) * np.power(1 + shape * distances, -1 / shape)
        shares = np.where(errors > threshold, tail, shares)
    return np.where(np.isnan(errors), np.nan, shares)


def _weekday_scales(errors: Floats, weekdays: npt.NDArray[np.intp]) -> Floats:
    """Robust standard deviation of the errors (around 0) of each of the 7 weekdays, drawn towards that of all.

    A quiet Sunday varies more on the log scale than a busy Tuesday, and would hide an expensive Tuesday.
    """
    whole = max(MAD_TO_SD * float(np.median(np.abs(errors))), MIN_LOG_SCALE)
    scales = np.full(WEEK, whole)
    for weekday in range(WEEK):
        own = errors[weekdays == weekday]
        if len(own):
            variance = (MAD_TO_SD * float(np.median(np.abs(own)))) ** 2
            weight = len(own) / (len(own) + WEIGHT_OF_ALL_WEEKDAYS)
            scales[weekday] = np.sqrt(weight * variance + (1 - weight) * whole**2)
    return scales


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
    """For each day: the median of the same weekdays around it, without the day itself, and its z by its weekday's MAD.

    The residuals of STL give no p-values: a fit that follows a day leaves too small a residual, and one that does not
    leaves all of it. Their tail is therefore far heavier than their MAD suggests.
    """
    shifts = [WEEK * week for week in range(-CENTRED_WEEKS, CENTRED_WEEKS + 1) if week]
    padded = np.concatenate((np.full(CENTRED_WEEKS * WEEK, np.nan), logs, np.full(CENTRED_WEEKS * WEEK, np.nan)))
    around = np.array([padded[CENTRED_WEEKS * WEEK + shift :][: len(logs)] for shift in shifts])
    usual = np.nanmedian(around, axis=0)
    errors = logs - usual
    errors -= np.median(errors)
    weekdays = np.arange(len(errors)) % WEEK
    return usual, errors / _weekday_scales(errors, weekdays)[weekdays]


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
    """Expectation, z and p-value of days; their scale and tail are those of the errors of the used days in `known`."""
    known = known[np.isfinite(known)]
    if len(known) < MIN_USED_DAYS:
        empty = np.full(len(usual), np.nan)
        return empty, empty, empty
    bias = float(np.median(known))
    z = (errors - bias) / _scale(known)
    return np.exp(usual + bias), z, np.maximum(_upper_p(z, len(known)), tail_p(known, errors))


def stl_days(daily: npt.ArrayLike, floor: float = 0.0) -> DayScores:
    """Score each day of a closed history: STL of period 7 on logs, robust (Cleveland and others, 1990), MAD z above 5.

    `daily` holds every day from first to last, 0 for days without usage. A flag also needs an excess above `floor`, in
    the unit of the values, above 30% of the expectation and half a usual day, and a p-value (`tail_p` of
    `_centred_errors`) of at most `FALSE_ALARM_RATE`. Where idle days are common, days with usage within four weeks
    replace STL. All results are nan with fewer than `MIN_STL_DAYS` days or without usage.

    Raises:
        ValueError: a value is negative or not finite.

    """
    days = _check_days(daily)
    if len(days) < MIN_STL_DAYS or not days.any():
        empty = np.full(len(days), np.nan)
        return _scores("stl", days, empty, empty, empty, floor)
    if _has_idle_days(days):
        usual, errors = _errors_of_used_days(days, CENTRED_WEEKS * WEEK, CENTRED_WEEKS * WEEK)
        return _scores("stl", days, *_scores_of_used_days(usual, errors, errors[days > 0]), floor)
    from statsmodels.tsa.seasonal import STL

    logs = _logs(days)
    usual, errors = _centred_errors(logs)
    parts = STL(np.where(errors > MASKING_Z, usual, logs), period=WEEK, robust=True).fit()
    fitted = np.asarray(parts.trend + parts.seasonal, dtype=np.float64)
    residuals = logs - fitted
    return _scores("stl", days, np.exp(fitted), residuals / _scale(residuals), tail_p(errors, errors), floor)


def weekday_days(daily: npt.ArrayLike, floor: float = 0.0, latest: int | None = None) -> DayScores:
    """Score each day by earlier days only: the median of up to eight same weekdays, and the errors of past days.

    The online rule: it uses no later day, so scoring a history at once or day by day gives the same result, and a flag
    stays. z and p-value (`tail_p`) come from this expectation's errors over the last half year, each over the scale of
    its weekday; they include trend and correlation. Before there are four weeks of errors, each day of the window is
    measured against its own weekday in the other weeks. A level that changed (`_Level`) is expected from then on. Where
    idle days are common, the days with usage of the last eight weeks replace the same weekdays, and no shift is looked
    for. Flags need the same as in `stl_days`, but for z. The first `MIN_WEEKDAY_WEEKS` weeks are nan, and only the
    `latest` days have p-values and shifts, if that is given. Raises the same as `stl_days`.
    """
    days = _check_days(daily)
    expected, z, p_value, errors = (np.full(len(days), np.nan) for _ in range(4))
    level = _Level(len(days))
    used_usual, used_errors = _errors_of_used_days(days, WEEKDAY_WEEKS * WEEK, 0)
    tested = max(len(days) - latest, 0) if latest else 0
    first = max(tested - MAX_ERROR_DAYS - WEEKDAY_WEEKS * WEEK, 0)
    for today in range(first + MIN_WEEKDAY_WEEKS * WEEK, len(days)):
        before = slice(max(today - MAX_ERROR_DAYS, 0), today)
        if _has_idle_days(days[before]):
            day, used = slice(today, today + 1), used_errors[before][days[before] > 0]
            expected[day], z[day], p_value[day] = _scores_of_used_days(used_usual[day], used_errors[day], used)
            continue
        weeks = min(today // WEEK, WEEKDAY_WEEKS)
        window = slice(today - weeks * WEEK, today)
        if not days[window].any():
            continue
        past = (_logs(days[window]) + level.change[window]).reshape(weeks, WEEK)
        medians = np.median(past, axis=0)
        least = SMALLEST_SHARE * float(np.median(days[window][days[window] > 0]))
        errors[today] = np.log(max(days[today], least)) - medians[0]
        known = np.flatnonzero(np.isfinite(errors[before])) + before.start
        if len(known) >= MIN_WEEKDAY_WEEKS * WEEK:
            bias = float(np.median(errors[known]))
            scales = _weekday_scales(errors[known] - bias, known % WEEK)
            z[today] = (errors[today] - bias) / scales[today % WEEK]
            p_value[today] = tail_p((errors[known] - bias) / scales[known % WEEK], z[today : today + 1])[0]
            if shift := level.shown_by(today, z[today], errors - bias):
                errors[shift.first : today + 1] -= np.log(shift.factor)
        else:
            others = [past[week] - np.median(np.delete(past, week, axis=0), axis=0) for week in range(weeks)]
            recent, bias = np.ravel(others), 0.0
            z[today] = errors[today] / _scale(recent)
            p_value[today] = _upper_p(z[today : today + 1], len(recent) * _independent_share(recent))[0]
        expected[today] = np.exp(medians[0] + bias)
    p_value[:tested] = np.nan
    rises = [shift for shift in level.shifts if shift.factor > 1 and shift.shown >= tested]
    return _scores("weekday", days, expected, z, p_value, floor, rises)


class _Level:
    """Finds changes of level as days come in: CUSUM of z in both directions (Page, 1954).

    `change` is what brings the log of each day to the present level.
    """

    def __init__(self, length: int) -> None:
        self.change = np.zeros(length)
        self.shifts: list[Shift] = []
        self._sums = {1: 0.0, -1: 0.0}
        self._firsts = {1: 0, -1: 0}

    def shown_by(self, today: int, z: float, errors: Floats) -> Shift | None:
        """The change that today's z has shown; `errors` are the logs over their expectation up to today."""
        for sign in self._sums:
            if self._sums[sign] == 0:
                self._firsts[sign] = today
            self._sums[sign] = max(self._sums[sign] + min(sign * z, MOST_OF_A_DAY) - SHIFT_SLACK, 0.0)
            first = self._firsts[sign]
            if self._sums[sign] > SHIFT_LIMIT and today - first + 1 >= SHIFT_DAYS:
                shift = Shift(first, today, float(np.exp(np.nanmedian(errors[first : today + 1]))))
                self.change[:first] += np.log(shift.factor)
                self.shifts.append(shift)
                self._sums = dict.fromkeys(self._sums, 0.0)
                return shift
        return None


def flagged_together(scores: Sequence[DayScores]) -> list[npt.NDArray[np.bool_]]:
    """Which days of each series are flagged where many series are tested at once; all of them end on the same day.

    On each day Benjamini and Hochberg's procedure holds the share of false discoveries among all series at `TREE_RATE`:
    on a day without a shock, one of them is flagged with at most that chance.
    """
    length = max((len(each.p_value) for each in scores), default=0)
    p_values = np.full((len(scores), length), np.nan)
    for row, each in zip(p_values, scores, strict=True):
        # a small excess is no candidate, and counts as a test that found nothing
        row[length - len(each.p_value) :] = np.where(each.is_large | np.isnan(each.p_value), each.p_value, 1.0)
    passing = np.array([benjamini_hochberg(day, TREE_RATE) for day in p_values.T]).reshape(length, len(scores)).T
    return [row[length - len(each.p_value) :] for row, each in zip(passing, scores, strict=True)]


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
