"""Days and conversations that stand out from their own history.

Belongs here: rules on arrays of daily sums and on pairs of one user's or key's sessions, and the control of false
alarms over many tests.
Does not belong here: fences of a whole distribution (interquartile range, standard deviations), which describe a tail
rather than find a fault; why a day stands out (`decomposition`); and which days and segments are looked at.

All rules work on logarithms, since noise of cost is multiplicative, and flag high values only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Counts, Floats, check_pairs, quantiles

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
MAX_IDLE_SHARE = 0.05  # of the days; more than that are no accident
MIN_USED_DAYS = 5  # around a day, and behind a scale
ROWS_PER_FREEDOM = 3.0  # the MAD is 37% efficient: as uncertain as an sd from a third of the days
MOST_FREEDOM = 30.0  # days are never quite lognormal
LEAST_FREEDOM = 1.0  # of Student's law, for noise whose tails are heavier than assumed
TAIL_QUANTILE = 0.98  # the share of days with a fault is smaller than the rest
NORMAL_TAIL_RATIO = 2.326 / 0.6745  # of that quantile to the median of half a normal law
TOLERANCE_OF_ALL, TOLERANCE_OF_ONE = 0.05, 0.10  # for chance: a standard error of half a year of one segment is 0.1
MIN_TAIL_SCORES = 100  # on a side: below it the outermost 2% are too few to tell
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


def _memory(errors: Floats) -> float:
    """How many of these errors in succession are worth as many independent ones when a scale is estimated: 0 to 1.

    (1 - r^2) / (1 + r^2) for a correlation r from day to day (Bayley and Hammersley, 1946, for the variance); errors
    beyond three robust deviations are drawn in, so that one day cannot make or hide it.
    """
    scale = _scale(errors)
    near = np.clip(errors - np.median(errors), -3 * scale, 3 * scale)
    squares = float(np.dot(near, near))
    correlation = float(np.dot(near[1:], near[:-1])) / squares if squares else 0.0
    return (1 - correlation**2) / (1 + correlation**2)


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


def _errors_of_used_days(days: Floats, back: int, ahead: int) -> tuple[Floats, Floats]:
    """For each day the median log of the days with usage around it, itself left out, and its log less that.

    `back` and `ahead` days count as around. An idle day counts as `SMALLEST_SHARE` of the usual. Both are nan below
    `MIN_USED_DAYS` days with usage.
    """
    logs = np.log(days, out=np.full(len(days), np.nan), where=days > 0)
    padded = np.concatenate((np.full(back, np.nan), logs, np.full(ahead, np.nan)))
    around = np.array([padded[shift : shift + len(days)] for shift in range(back + ahead + 1) if shift != back])
    enough = np.isfinite(around).sum(axis=0) >= MIN_USED_DAYS
    usual = np.full(len(days), np.nan)
    usual[enough] = np.nanmedian(around[:, enough], axis=0)
    return usual, np.where(days > 0, logs - usual, np.where(enough, np.log(SMALLEST_SHARE), np.nan))


def _has_idle_days(days: Floats) -> bool:
    """Where idle days are common, a day is compared with other days with usage, of whatever weekday.

    Against a median of idle days any usage at all would stand out, and beside the step from idle to usage no fault.
    """
    return bool((days == 0).mean() > MAX_IDLE_SHARE)


def _scores_of_used_days(usual: Floats, errors: Floats, seen: Floats) -> tuple[Floats, Floats, Floats]:
    """Expectation, z and p of days, with the scale of the errors of the days with usage that are `seen`."""
    seen = seen[np.isfinite(seen)]
    if len(seen) < MIN_USED_DAYS:
        nothing = np.full(len(usual), np.nan)
        return nothing, nothing, nothing
    bias = float(np.median(seen))
    z = (errors - bias) / _scale(seen)
    return np.exp(usual + bias), z, _upper_p(z, len(seen))


def stl_days(daily: npt.ArrayLike, floor: float = 0.0) -> DayScores:
    """Score each day of a closed history: STL of period 7 on logs, robust (Cleveland and others, 1990), MAD z above 5.

    `daily` holds every day from first to last, 0 where there was no usage. A flag also needs an excess above `floor`,
    in the unit of the values, and above 30% of the expected. `p_value` is that of `_left_out`, for use over many
    segments. Where idle days are common, the days with usage of four weeks before and after take the place of STL. All
    nan below `MIN_STL_DAYS` days or where no day has usage.

    Raises:
        ValueError: a value is negative or not finite.

    """
    days = _check_days(daily)
    if len(days) < MIN_STL_DAYS or not days.any():
        nothing = np.full(len(days), np.nan)
        return _scores("stl", days, nothing, nothing, nothing, STL_THRESHOLD, floor)
    if _has_idle_days(days):
        usual, errors = _errors_of_used_days(days, CENTRED_WEEKS * WEEK, CENTRED_WEEKS * WEEK)
        return _scores("stl", days, *_scores_of_used_days(usual, errors, errors[days > 0]), STL_THRESHOLD, floor)
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
    until there are four weeks of them it is that of each day of the window against its own weekday in the other weeks.
    Where idle days are common the days with usage of the last eight weeks take the place of the same weekdays. Flags as
    `stl_days`, above a z of 3.5; nan in the first
    `MIN_WEEKDAY_WEEKS` weeks. Raises as `stl_days`.
    """
    days = _check_days(daily)
    expected, z, p_value = (np.full(len(days), np.nan) for _ in range(3))
    errors: list[float] = []
    used_usual, used_errors = _errors_of_used_days(days, WEEKDAY_WEEKS * WEEK, 0)
    for today in range(MIN_WEEKDAY_WEEKS * WEEK, len(days)):
        before = slice(max(today - MAX_ERROR_DAYS, 0), today)
        if _has_idle_days(days[before]):
            here, seen = slice(today, today + 1), used_errors[before][days[before] > 0]
            expected[here], z[here], p_value[here] = _scores_of_used_days(used_usual[here], used_errors[here], seen)
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
        p_value[today] = _upper_p(z[today : today + 1], len(recent) * _memory(recent))[0]
    return _scores("weekday", days, expected, z, p_value, WEEKDAY_THRESHOLD, floor)


def _noise_law(scores: Floats, tolerance: float) -> tuple[float, float] | None:
    """Degrees and unit of Student's law for normal scores of mostly clean days; None where they are normal.

    Faults lie on one side: the lighter side of the scores shows the noise, by how far its outermost 2% lie from its
    median. `tolerance` is how much further than those of a normal law they may lie by chance.
    """
    from scipy import special

    told = scores[np.isfinite(scores)]
    sides = [side for side in (told[told > 0], -told[told < 0]) if len(side) >= MIN_TAIL_SCORES]
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
    """P-values of the days of each segment, raised where the noise has heavier tails than they assume (Efron, 2004).

    As normal scores, those of all segments together and those of each segment are held against a normal law: where
    either shows heavier tails, p is that of Student's law with such tails, never below the one that was given. nan
    stays. Fewer than `MIN_TAIL_SCORES` scores on each side tell nothing.
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
