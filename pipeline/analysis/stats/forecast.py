"""One predictive distribution of a month's total, from daily sums: point, bands, budgets and tails all come from it.

Belongs here: the distribution, and its check against past months. Does not belong here: which series is forecast, what
is compared with a budget, contracts (pricing draws the organisation's months from this distribution).

Inputs: the cost of every day from the first to the last closed one, 0 for days without usage.

1. `_month_end_factors`: how much the last five days of a month cost compared with their weekdays, from earlier months.
2. `_Origins`: for every day of the history what was known on it: the mean of the last four same weekdays, growth
   (Theil-Sen slope of twelve weekly sums, shrunk towards 0), and the noise of a week.
3. `History._forecast`: cost so far plus the expected days ahead. Their sum has a Student t error on the log scale; its
   spread adds up the noise of the days ahead and the errors of level and growth, and is corrected by the errors of the
   same forecast at earlier origins.

Known drawbacks: growth is a constant percentage, at most 30% a month; a jump of the level on the last day is seen as
noise until the mean of four weeks follows it; holidays are unknown.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Floats
from pipeline.words import counted

WEEK = 7
WEEKS_OF_MEAN = 4
WEEKS_OF_GROWTH = 12
LONG_WEEKS = (8, 12, 16, 20, 24, 28)  # of the growth in the long run: as many as the history has
MIN_HISTORY_DAYS = WEEKS_OF_MEAN * WEEK
MIN_BAND_DAYS = 6 * WEEK
MIN_BUDGET_DAYS = 8 * WEEK  # fewer show neither growth nor how far a month can go astray
MAX_ORIGINS = 365
BANDS = (0.80, 0.95)
BUDGETS = (0.80, 0.95, 0.99)  # one-sided: a month exceeds its budget with a chance of 20%, 5%, 1%
BUDGET = 0.95  # the one that decides whether the back-test missed
OUTCOMES = 10_000  # equally likely totals; the highest 1% are 100
MAX_FACTOR = 4.0  # a distribution whose 97.5% point is farther above the forecast helps nobody to plan
PER_WEEK = WEEK / 30  # of a month's growth
# Prior sd of a month's growth, and of its change within half a year: least error over months that grow by 0 to 15%.
USUAL_GROWTH, USUAL_CHANGE = (float(np.log1p(share)) * PER_WEEK for share in (0.08, 0.03))
MAX_GROWTH = float(np.log(1.30)) * PER_WEEK
MAX_MEMORY = 0.9
LEAST_WEEK = 0.02  # of the mean week: the least that a week counts in the logs of its slope
MONTH_END_DAYS = 5
MISSED = 0.05  # a back-test missed if so many exceedances have a smaller chance


@dataclass(frozen=True)
class MonthForecast:
    """The distribution of a month's total, in the unit of the days: so_far + rest x exp(spread x t) / its mean.

    `spread` and `freedom` (degrees of freedom of t) are None where the history carries no distribution: below
    `MIN_BAND_DAYS` days, without usage, or where it varies too much (`MAX_FACTOR`). `has_budgets`: at least
    `MIN_BUDGET_DAYS` days.
    """

    month: dt.date
    as_of: dt.date
    so_far: float
    days_left: int
    rest: float
    spread: float | None
    freedom: int | None
    known_days: int
    has_budgets: bool

    @property
    def point(self) -> float:
        """The expected total: the mean of the distribution."""
        return self.so_far + self.rest

    def outcomes(self) -> Floats:
        """`OUTCOMES` equally likely totals, ascending.

        Raises:
            ValueError: there is no distribution.

        """
        if self.spread is None or self.freedom is None:
            raise ValueError("the history carries no distribution of the month")
        factors = np.exp(self.spread * _scores(self.freedom))
        totals: Floats = self.so_far + self.rest * (factors / factors.mean())
        return totals

    @cached_property
    def _sorted(self) -> Floats:
        return self.outcomes()

    def quantile(self, q: float) -> float | None:
        """The total that is not exceeded with probability `q`: the quantile (type 7) of `outcomes`."""
        if self.spread is None:
            return None
        at = (OUTCOMES - 1) * q
        low, high = self._sorted[int(at)], self._sorted[int(at) + 1]
        return float(low + (high - low) * (at - int(at)))

    def band(self, level: float) -> tuple[float | None, float | None]:
        """Both ends of the interval that holds the total with probability `level`."""
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def budget(self, level: float) -> float | None:
        """A budget that is enough with probability `level`."""
        return self.quantile(level) if self.has_budgets else None


@dataclass(frozen=True)
class Backtest:
    """Past months against their forecasts: `hits` of `months` within the 80% band, `over[level]` of `budgets` above.

    Bounds are 95% intervals (Clopper and Pearson 1934) of the share of hits and of the share above the 95% budget.
    """

    hits: int
    months: int
    over: dict[float, int]
    budgets: int
    low: float | None
    high: float | None
    over_low: float | None
    over_high: float | None

    @property
    def missed(self) -> bool:
        """Whether past months exceeded the 95% budget more often than chance explains."""
        from scipy import special

        over = self.over[BUDGET]
        return over > 0 and float(special.bdtrc(over - 1, self.budgets, 1 - BUDGET)) < MISSED


@lru_cache(maxsize=64)
def _scores(freedom: int) -> Floats:
    """`OUTCOMES` equally likely values of Student's t, ascending."""
    from scipy import special

    upper = special.stdtrit(freedom, (np.arange(OUTCOMES // 2, OUTCOMES) + 0.5) / OUTCOMES)
    return np.concatenate((-upper[::-1], upper))


def month_end(day: dt.date) -> dt.date:
    """First day of the next month."""
    return dt.date(day.year + day.month // 12, day.month % 12 + 1, 1)


@dataclass(frozen=True)
class _Origins:
    """What each day `at` (n,) as the exclusive end of the history lets expect of the days from it on.

    `weekdays` (n, 7): the expectation of the next seven days without growth; `memory` (n,): correlation of a day's
    error with that of the day before; `growth` (n,): log growth a week; `noise` (n,): variance of the log of a week's
    sum; `growth_error` (n,): variance of `growth`; `shared` (n,): covariance of the errors of level and growth;
    `freedom` (n,): degrees of freedom of `noise`.
    """

    at: npt.NDArray[np.int64]
    weekdays: Floats
    memory: Floats
    growth: Floats
    noise: Floats
    growth_error: Floats
    shared: Floats
    freedom: Floats

    @classmethod
    def of(cls, days: Floats, at: npt.NDArray[np.int64]) -> _Origins:
        """The origins `at` (all at least `MIN_HISTORY_DAYS`) of a history."""
        totals = np.concatenate(([0.0], np.cumsum(days)))
        back = np.arange(WEEKS_OF_MEAN * WEEK, 0, -1)
        weekdays = days[at[:, None] - back].reshape(-1, WEEKS_OF_MEAN, WEEK).mean(axis=1)
        memory = _memory(days)[at]
        columns = np.zeros((5, at.size))
        weeks = np.minimum(at // WEEK, LONG_WEEKS[-1])
        weeks = np.where(weeks < LONG_WEEKS[0], weeks, 4 * (weeks // 4))
        for count in np.unique(weeks):
            chosen = weeks == count
            ends = at[chosen, None] - WEEK * np.arange(count - 1, -1, -1)
            columns[:, chosen] = _growth_and_noise(totals[ends] - totals[ends - WEEK], memory[chosen])
        return cls(at, weekdays, memory, *columns)

    def expected(self, gap: int, length: int) -> Floats:
        """Expected sum of the `length` days that begin `gap` days after each origin."""
        ahead = np.arange(gap, gap + length)
        sums = np.zeros(self.at.size)
        for week in np.unique(ahead // WEEK):
            slots = ahead[ahead // WEEK == week] % WEEK
            # the mean of the last four same weekdays is two and a half weeks old
            sums += self.weekdays[:, slots].sum(axis=1) * np.exp(self.growth * (WEEKS_OF_MEAN / 2 + 0.5 + week))
        return sums

    def variance(self, gap: int, length: int) -> Floats:
        """Variance of log(actual / expected) of the same sum: its noise, and the errors of level and growth."""
        weeks = WEEKS_OF_MEAN / 2 + (gap + length / 2) / WEEK  # from the middle of the four weeks
        ahead = self.noise * _mean_variance(length, self.memory)
        level = self.noise * _mean_variance(WEEKS_OF_MEAN * WEEK, self.memory)
        return np.asarray(ahead + level + 2 * weeks * self.shared + weeks**2 * self.growth_error)


def _memory(days: Floats) -> Floats:
    """For each number of known days (n + 1,) the correlation of a day's log error with that of the day before.

    The error is that against the mean of the last four same weekdays; days without usage have none.
    """
    past = MIN_HISTORY_DAYS
    memory = np.zeros(len(days) + 1)
    if len(days) <= past + 1:
        return memory
    usual = np.mean(
        [days[past - WEEK * week : len(days) - WEEK * week] for week in range(1, WEEKS_OF_MEAN + 1)], axis=0
    )
    known = (usual > 0) & (days[past:] > 0)
    errors = np.log(np.where(known, days[past:], 1.0) / np.where(known, usual, 1.0))
    pairs = known[1:] & known[:-1]
    first, second = errors[:-1] * pairs, errors[1:] * pairs
    sums = [np.cumsum(each) for each in (pairs, first, second, first * second, first**2, second**2)]
    count = np.maximum(sums[0], 1)
    products = sums[3] - sums[1] * sums[2] / count
    squares = np.sqrt(np.maximum((sums[4] - sums[1] ** 2 / count) * (sums[5] - sums[2] ** 2 / count), 0.0))
    correlation = np.divide(products, squares, out=np.zeros(len(pairs)), where=squares > 1e-12)
    memory[past + 2 :] = np.clip(correlation, 0.0, MAX_MEMORY)
    return memory


def _mean_variance(days: float, memory: Floats) -> Floats:
    """Variance of the mean of `days` days / that of the mean of a week, if errors fade by `memory` from day to day."""

    def of_mean(n: float) -> Floats:
        left = 1 - memory
        return np.asarray((1 + memory) / left - 2 * memory * (1 - memory**n) / (n * left**2)) / n

    return np.asarray(of_mean(days) / of_mean(WEEK))


def _growth_and_noise(sums: Floats, memory: Floats) -> Floats:
    """Growth, noise, error of growth, shared error and degrees of freedom (5, n) of weekly sums (n, weeks).

    The slope of twelve weeks is shrunk towards the slope of half a year, and that one towards 0: with the error
    variance e = noise / Sxx of a slope and a normal prior of sd s, the share s^2 / (s^2 + e) is kept.
    """
    weeks = sums.shape[1]
    recent = sums[:, -WEEKS_OF_GROWTH:]
    count = recent.shape[1]
    has_slope = weeks >= LONG_WEEKS[0]
    none = np.zeros(len(sums))
    slope, long_slope = (_theil_sen(recent), _theil_sen(sums)) if has_slope else (none, none)
    level = recent * np.exp(-slope[:, None] * _centred(count))
    # level and slope of correlated weeks take more than one degree of freedom each
    freedom = count - (1 + has_slope) * _mean_variance(count * WEEK, memory) * count
    centre = level.mean(axis=1)
    variation = np.divide(np.sqrt(level.var(axis=1) * count / freedom), centre, out=none.copy(), where=centre > 0)
    noise = np.log1p(variation**2)
    error, long_error = (noise * _slope_variance(n, memory) for n in (count, weeks))
    kept = USUAL_CHANGE**2 / (USUAL_CHANGE**2 + error) * has_slope
    long_kept = USUAL_GROWTH**2 / (USUAL_GROWTH**2 + long_error) * has_slope
    long_left = long_kept**2 * long_error + (1 - long_kept) ** 2 * USUAL_GROWTH**2
    # the covariance of both slopes is the variance of the longer one
    left = kept**2 * error + (1 - kept) ** 2 * (long_left + USUAL_CHANGE**2)
    left += 2 * kept * (1 - kept) * long_kept * long_error
    shared = [each * (n - WEEKS_OF_MEAN) / 2 for each, n in ((error, count), (long_error, weeks))]
    growth = np.clip(kept * slope + (1 - kept) * long_kept * long_slope, -MAX_GROWTH, MAX_GROWTH)
    both = kept * shared[0] + (1 - kept) * long_kept * shared[1]
    columns: Floats = np.array([growth, noise, left, both, freedom], dtype=np.float64)
    return columns


def _centred(count: int) -> Floats:
    return np.arange(count, dtype=np.float64) - (count - 1) / 2


def _theil_sen(sums: Floats) -> Floats:
    """The median slope (n,) of the logs over all pairs of weeks."""
    mean = sums.mean(axis=1, keepdims=True)
    logs = np.log(np.maximum(sums, np.where(mean > 0, LEAST_WEEK * mean, 1.0)))
    first, second = np.triu_indices(sums.shape[1], 1)
    slopes: Floats = np.median((logs[:, second] - logs[:, first]) / (second - first), axis=1)
    return slopes


def _slope_variance(count: int, memory: Floats) -> Floats:
    """Variance of the slope of `count` weeks / the noise of a week."""
    place = _centred(count)
    return _mean_variance(count * WEEK, memory) * count / float(place @ place)


def _month_end_factors(days: Floats, first_day: dt.date) -> tuple[dict[dt.date, Floats], Floats]:
    """By month the factors of its last `MONTH_END_DAYS` days (the last one last), and the days divided by them.

    A factor is the mean, over earlier months, of the day's cost / its last four same weekdays, each relative to the
    same ratio of the week before. It counts only as far as it exceeds twice its standard error.
    """
    adjusted = days.copy()
    factors: dict[dt.date, Floats] = {}
    ratios: list[Floats] = []
    last = first_day + dt.timedelta(days=len(days))
    month = first_day.replace(day=1)
    while month <= month_end(last):
        factors[month] = _mean_beyond_its_error(np.array(ratios)) if len(ratios) > 1 else np.ones(MONTH_END_DAYS)
        end = (month_end(month) - first_day).days
        first = end - MONTH_END_DAYS
        if end <= len(days):
            before = np.arange(first - WEEK, end)
            if first - WEEK >= MIN_HISTORY_DAYS:
                usual = np.mean([adjusted[before - WEEK * (week + 1)] for week in range(WEEKS_OF_MEAN)], axis=0)
                own = days[before]
                if (usual > 0).all() and (own > 0).all():
                    ratios.append(np.log(own[WEEK:] / usual[WEEK:]) - np.log(own[:WEEK].sum() / usual[:WEEK].sum()))
            if end > 0:
                inside = slice(max(first, 0), end)
                adjusted[inside] = days[inside] / factors[month][max(-first, 0) :]
        month = month_end(month)
    return factors, adjusted


def _mean_beyond_its_error(ratios: Floats) -> Floats:
    """exp of the column means, each shrunk by 1 - 4 error^2 / mean^2, at least 0; all columns share one error."""
    means = ratios.mean(axis=0)
    error = float(ratios.var(axis=0, ddof=1).mean()) / len(ratios)
    squares = np.maximum(means**2, np.finfo(np.float64).tiny)
    return np.asarray(np.exp(means * np.maximum(1 - 4 * error / squares, 0.0)))


class History:
    """Daily costs from `first_day` on, and the forecasts that they allow.

    `daily` holds every day to the last closed one, 0 for days without usage.

    Raises:
        ValueError: no day, or a value is negative or not finite.

    """

    def __init__(self, daily: npt.ArrayLike, first_day: dt.date) -> None:
        self.days = np.asarray(daily, dtype=np.float64)
        if self.days.ndim != 1 or not len(self.days) or not np.isfinite(self.days).all() or (self.days < 0).any():
            raise ValueError("daily values must be one-dimensional, finite, not negative, and at least one")
        self.first_day = first_day
        self._factors, self._adjusted = _month_end_factors(self.days, first_day)
        self._totals = np.concatenate(([0.0], np.cumsum(self._adjusted)))
        self._origins = _Origins.of(self._adjusted, np.arange(MIN_HISTORY_DAYS, len(self.days) + 1))
        self._past: dict[tuple[int, int], tuple[npt.NDArray[np.int64], Floats]] = {}

    def this_month(self) -> MonthForecast:
        """The month of the day after the last one."""
        return self._forecast(len(self.days))

    def next_month(self) -> MonthForecast:
        """The first month that is wholly ahead; the same as `this_month` where the history ends with a month."""
        this = self.this_month()
        today = this.as_of + dt.timedelta(days=1)
        return this if today == this.month else self._forecast(len(self.days), month_end(this.month))

    def backtest(self, known_days: int = 10) -> Backtest:
        """Check band and budgets on each closed month, forecast after its first `known_days` days.

        A forecast uses only days before its origin. Months without a band or budget are not counted.
        """
        hits = months = budgets = 0
        over = dict.fromkeys(BUDGETS, 0)
        month = self.first_day.replace(day=1)
        while (end := (month_end(month) - self.first_day).days) <= len(self.days):
            start = (month - self.first_day).days
            if start >= 0 and start + known_days >= MIN_BAND_DAYS:
                forecast = self._forecast(start + known_days)
                total = float(self.days[start:end].sum())
                low, high = forecast.band(BANDS[0])
                if low is not None and high is not None:
                    months += 1
                    hits += low <= total <= high
                if forecast.spread is not None and forecast.has_budgets:
                    budgets += 1
                    for level in BUDGETS:
                        over[level] += total > (forecast.budget(level) or 0.0)
            month = month_end(month)
        return Backtest(
            hits, months, over, budgets, *binomial_interval(hits, months), *binomial_interval(over[BUDGET], budgets)
        )

    def _forecast(self, origin: int, month: dt.date | None = None) -> MonthForecast:
        """The month of the day at `origin`, or a later `month`, from the days before `origin`."""
        today = self.first_day + dt.timedelta(days=origin)
        as_of = today - dt.timedelta(days=1)
        start = max(today, month or today)
        month = start.replace(day=1)
        gap, length = (start - today).days, (month_end(month) - start).days
        known = min((start - month).days, origin) if not gap else 0
        so_far = float(self.days[origin - known : origin].sum())
        own_factors = self._factors[today.replace(day=1)] if origin >= MIN_HISTORY_DAYS else np.ones(MONTH_END_DAYS)
        if origin < MIN_HISTORY_DAYS:
            weeks = origin // WEEK
            recent = self.days[origin - weeks * WEEK : origin].reshape(weeks, WEEK).mean(axis=0) if weeks else None
            week = np.full(WEEK, self.days[:origin].mean()) if recent is None else recent
            rest = float(np.resize(np.roll(week, -gap), length).sum())
            return MonthForecast(month, as_of, so_far, length, rest, None, None, origin, False)
        now = _Origins(*(each[[origin - MIN_HISTORY_DAYS]] for each in vars(self._origins).values()))
        ends = min(length, MONTH_END_DAYS)
        plain = float(now.expected(gap, length - ends)[0]) if length > ends else 0.0
        rest = plain + sum(
            float(now.expected(gap + length - place, 1)[0]) * float(own_factors[-place]) for place in range(1, ends + 1)
        )
        forecast = MonthForecast(month, as_of, so_far, length, rest, None, None, origin, origin >= MIN_BUDGET_DAYS)
        if origin < MIN_BAND_DAYS or rest <= 0:
            return forecast
        freedom, scale = self._scale(origin, gap, length, float(now.freedom[0]))
        spread = float(np.sqrt(now.variance(gap, length)[0] * scale))
        whole = replace(forecast, spread=spread, freedom=max(round(freedom), 3))
        _, high = whole.band(BANDS[1])
        return whole if high is not None and high <= MAX_FACTOR * whole.point else forecast

    def _scale(self, origin: int, gap: int, length: int, freedom: float) -> tuple[float, float]:
        """Degrees of freedom, and the factor of the variance that past forecasts over as many days ask for.

        k errors of overlapping forecasts are worth about (k - 1) / length + 1 independent ones. The estimated variance
        counts with its degrees of freedom, past squared errors (in its units) with that number.
        """
        if (gap, length) not in self._past:
            first = self._origins.at + gap
            inside = (first + length <= len(self.days)) & (self._origins.at >= MIN_BUDGET_DAYS)
            first = first[inside]
            actual = self._totals[first + length] - self._totals[first]
            expected = self._origins.expected(gap, length)[inside]
            variance = self._origins.variance(gap, length)[inside]
            known = (actual > 0) & (expected > 0) & (variance > 0)
            squares = np.log(actual[known] / expected[known]) ** 2 / variance[known]
            self._past[gap, length] = first[known] + length, squares
        ends, squares = self._past[gap, length]
        until = int(np.searchsorted(ends, origin, side="right"))
        squares = squares[max(until - MAX_ORIGINS, 0) : until]
        worth = (len(squares) - 1) / length + 1 if len(squares) else 0.0
        mean = float(squares.mean()) if len(squares) else 1.0
        return freedom, (freedom + worth * mean) / (freedom + worth)


@dataclass(frozen=True)
class Outlook:
    """The forecasts of a history and their record; without budgets where the back-test missed."""

    this_month: MonthForecast
    next_month: MonthForecast
    past: Backtest

    @classmethod
    def of(cls, daily: npt.ArrayLike, first_day: dt.date) -> Outlook:
        """The outlook from the day after the last one; raises the same as `History`."""
        history = History(daily, first_day)
        past = history.backtest()
        ahead = (history.this_month(), history.next_month())
        if past.missed:
            ahead = (replace(ahead[0], has_budgets=False), replace(ahead[1], has_budgets=False))
        return cls(*ahead, past)

    def doubt(self, month: MonthForecast) -> str | None:
        """Why one of its months has no interval or no budget; None where it has both."""
        too_little = "too little history for a budget"
        if month.rest <= 0:
            return "No usage in the last four weeks: nothing more is expected, and no interval is given."
        if month.known_days < MIN_BAND_DAYS:
            return f"{counted(month.known_days, 'day')}: {too_little}, or an interval ({MIN_BAND_DAYS} days)."
        if month.spread is None:
            return f"Months differ by factors: {too_little}, or an interval."
        if month.known_days < MIN_BUDGET_DAYS:
            return f"{counted(month.known_days, 'day')}: {too_little} ({MIN_BUDGET_DAYS} days)."
        if self.past.missed:
            over = self.past.over[BUDGET]
            return f"{over} of {counted(self.past.budgets, 'past month')} exceeded the 95% budget: {too_little}."
        return None


def binomial_interval(successes: int, trials: int) -> tuple[float | None, float | None]:
    """The 95% interval of a share (Clopper and Pearson 1934); None without trials."""
    from scipy import special

    if not trials:
        return None, None
    low = float(special.betaincinv(successes, trials - successes + 1, 0.025)) if successes else 0.0
    high = float(special.betaincinv(successes + 1, trials - successes, 0.975)) if successes < trials else 1.0
    return low, high
