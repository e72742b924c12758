"""Monthly bills: simulated from a daily history, resampled for standard errors, or from a compound model.

Belongs here: arrays of monthly bills in USD, and exact distributions of them. Does not belong here: prices under a
contract (`terms`), the statistics of bills (`risk`), reading the history (`bill_history`).

Each call draws from one PCG64 generator in one thread: a seed gives the same bills on any machine and number of
threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.stats.describe import dot
from pipeline.pricing.terms import Usd, checked_bills

Integers = NDArray[np.int64]

# A whole week: with a day-to-day correlation of 0.6, independent days understate the monthly variance 3.6-fold.
BLOCK_DAYS = 7
SIMULATED_MONTHS = 10_000  # the highest 1% are 100 months
FFT_POINTS = 65_536  # agrees to three digits with the package aggregate (docs/pricing.md)
REPLICATES = 200  # a standard error from 200 replicates is itself within about 5%
_REPLICATE_DRAWS = 10_000_000  # block draws per call, about 1.5 s: histories of many customers get fewer replicates
_MINIMUM_REPLICATES = 30
SUM_POINTS = 16_384  # for sums of many losses: the 99% quantile is within 0.1% of that of four times as many
_LEAST_EXCESS = 1e-9  # of the mean: with less overdispersion the count is Poisson
_MAX_DOUBLINGS = 16  # of the grid's span; with more, one step would cover the distribution
# Lengths of the 48 calendar months of a leap cycle: the length of months is part of a bill's variance.
MONTH_DAYS: Integers = np.array(
    [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] + 3 * [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31],
    dtype=np.int64,
)


def simulate_months(
    daily_costs_usd: Usd, *, seed: int, n_months: int = SIMULATED_MONTHS, block_days: int = BLOCK_DAYS
) -> Usd:
    """Bills of `n_months` calendar months, drawn in circular blocks of `block_days` consecutive days of the history.

    `daily_costs_usd` holds one cost per day, in order, 0 for days without usage. Blocks wrap around the end of the
    history (circular block bootstrap, Politis and Romano 1992), so each day is drawn equally often and the expected
    bill is the mean day x the month's length. Month lengths follow the 48 months of a leap cycle. Returns shape
    (n_months,), USD.

    Raises:
        ValueError: costs are missing, negative or not finite; `n_months` or `block_days` is below 1.

    """
    daily = checked_bills(daily_costs_usd)
    if n_months < 1 or block_days < 1:
        raise ValueError("n_months and block_days must be at least 1")
    lengths = np.resize(MONTH_DAYS, n_months)
    series = np.zeros(n_months, dtype=np.int64)
    windows = _circular_windows(daily, np.array([daily.size], dtype=np.int64), block_days, lengths)
    return _draw(
        windows, series, lengths, np.array([0, daily.size], dtype=np.int64), block_days, np.random.default_rng(seed)
    )


def resample_customer_months(
    daily_costs_usd: Usd, bill_days: Integers, bill_customers: Integers, *, seed: int, block_days: int = BLOCK_DAYS
) -> Iterator[Usd]:
    """Bootstrap replicates of customer x month bills: resample customers, then weeks of each customer's own days.

    `daily_costs_usd` holds the days of all bills one after another, including zeros; `bill_days` (n_bills,) the number
    of days of each bill; `bill_customers` (n_bills,) its customer as 0, 1, 2, ..., in order. A drawn customer
    contributes all of its months. Yields up to `REPLICATES` arrays; their lengths differ if customers have different
    numbers of months.

    Raises:
        ValueError: the three arrays do not match.

    """
    daily = checked_bills(daily_costs_usd)
    lengths = np.asarray(bill_days, dtype=np.int64)
    customers = np.asarray(bill_customers, dtype=np.int64)
    if lengths.shape != customers.shape or int(lengths.sum()) != daily.size or (lengths < 1).any():
        raise ValueError("bill_days must hold at least one day for each bill and sum to the number of daily costs")
    if customers[0] != 0 or not np.isin(np.diff(customers), (0, 1)).all():
        raise ValueError("bill_customers must be 0, 1, 2, ... in order")
    months_of = np.bincount(customers)
    first_bill = np.concatenate(([0], np.cumsum(months_of)))
    customer_days = np.bincount(customers, weights=lengths).astype(np.int64)
    first_day = np.concatenate(([0], np.cumsum(customer_days)))
    windows = _circular_windows(daily, customer_days, block_days, lengths)
    generator = np.random.default_rng(seed)
    draws = int(np.ceil(lengths / block_days).sum())
    for _ in range(int(np.clip(_REPLICATE_DRAWS // draws, _MINIMUM_REPLICATES, REPLICATES))):
        drawn = generator.integers(0, months_of.size, months_of.size)
        counts = months_of[drawn]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        bills = np.repeat(first_bill[drawn], counts) + within
        yield _draw(windows, customers[bills], lengths[bills], first_day, block_days, generator)


def _circular_windows(daily: Usd, series_days: Integers, block_days: int, lengths: Integers) -> dict[int, Usd]:
    """For each block width, the cost of the block that starts on each day; blocks wrap within their series."""
    first_day = np.repeat(np.cumsum(series_days) - series_days, series_days)
    days = np.repeat(series_days, series_days)
    within = np.arange(daily.size) - first_day
    widths = {int(width) for width in np.unique(lengths % block_days)} | {block_days}
    windows: dict[int, Usd] = {0: np.zeros(daily.size)}
    total = np.zeros(daily.size)
    for width in range(1, max(widths) + 1):
        total = total + daily[first_day + (within + width - 1) % days]
        if width in widths:
            windows[width] = total
    return windows


def _draw(
    windows: dict[int, Usd],
    series: Integers,
    lengths: Integers,
    first_day: Integers,
    block_days: int,
    generator: np.random.Generator,
) -> Usd:
    """Bills of the given lengths in days, each made of blocks drawn from its own series; the last block is cut."""
    bills = np.zeros(lengths.size)
    for block in range(int(-(-lengths.max() // block_days))):
        width = np.clip(lengths - block * block_days, 0, block_days)
        start = first_day[series] + generator.integers(0, first_day[series + 1] - first_day[series])
        for value in np.unique(width):
            chosen = width == value
            bills[chosen] += windows[int(value)][start[chosen]]
    return bills


@dataclass(frozen=True)
class CountLaw:
    """Distribution of a customer's requests (or sessions) per month: Poisson, or negative binomial with shape `k`."""

    mean: float
    k: float | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and self.mean > 0):
            raise ValueError("the mean count must be finite and positive")
        if self.k is not None and not (np.isfinite(self.k) and self.k > 0):
            raise ValueError("k must be finite and positive, or None for Poisson")

    @property
    def kind(self) -> Literal["poisson", "negative_binomial"]:
        """The family."""
        return "poisson" if self.k is None else "negative_binomial"

    @property
    def variance(self) -> float:
        """Poisson: mean; negative binomial: mean + mean^2 / k."""
        return self.mean if self.k is None else self.mean + self.mean**2 / self.k

    def generating_function(self, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """E[z^N]."""
        if self.k is None:
            return np.exp(self.mean * (z - 1))
        # log(1 + w) by modulus and angle: for a large k, 1 + w would lose the digits of w
        w = self.mean / self.k * (1 - z)
        log_modulus = np.log1p(w.real * (2 + w.real) + w.imag**2) / 2
        return np.exp(-self.k * (log_modulus + 1j * np.arctan2(w.imag, 1 + w.real)))


def count_law(counts: Integers, periods: float = 1.0) -> CountLaw:
    """Count distribution over `periods` independent periods, from the moments of one (a month from counts per day).

    Negative binomial if the counts are overdispersed, k = mean^2 / (variance - mean) with ddof 1. Poisson if not, if
    there is a single period, or if variance - mean is below `_LEAST_EXCESS` of the mean. Moments are integer sums, so
    rounding cannot cause overdispersion. Shape (n,), n >= 1.

    Raises:
        ValueError: no counts, only zeros, or a negative count.

    """
    values = [int(count) for count in counts]
    n, total = len(values), sum(values)
    if not total or min(values) < 0:
        raise ValueError("a count law needs counts that are not negative, and not all 0")
    mean = total / n * periods
    if n == 1:
        return CountLaw(mean)
    # mean n (n - 1) and (variance - mean) n (n - 1) of one period
    level = total * (n - 1)
    excess = n * sum(value * value for value in values) - total**2 - level
    return CountLaw(mean, mean * level / excess if excess > _LEAST_EXCESS * level else None)


@dataclass(frozen=True)
class Distribution:
    """A discrete distribution of bills: `values_usd` ascending and `probabilities`, both of shape (n,)."""

    values_usd: Usd
    probabilities: Usd

    def mean(self, of: Usd | None = None) -> float:
        """E[B], or the mean of `of` (one number per value, such as the prices under a contract)."""
        return dot(self.probabilities, self.values_usd if of is None else of)

    def variance(self, of: Usd | None = None) -> float:
        """Var B, or the variance of `of`."""
        values = self.values_usd if of is None else of
        return dot(self.probabilities, (values - self.mean(values)) ** 2)

    def sd(self, of: Usd | None = None) -> float:
        """The square root of `variance`."""
        return float(np.sqrt(self.variance(of)))

    def quantile(self, q: float) -> float:
        """The smallest value with P(B <= value) >= q: VaR at q."""
        return float(self.values_usd[self._position(q)])

    def tvar(self, q: float) -> float:
        """The mean of the highest 1 - q of the probability; the value at the quantile counts with its fraction."""
        at = self._position(q)
        above = slice(at + 1, None)
        beyond = dot(self.probabilities[above], self.values_usd[above])
        rest = (1 - q) - float(self.probabilities[above].sum())
        return (beyond + rest * float(self.values_usd[at])) / (1 - q)

    def strata(self, n: int) -> Usd:
        """`n` equally likely values, ascending: the mean of each n-th part of the probability, USD.

        They can replace bills: they have the distribution's mean, and its TVaR if n (1 - q) is an integer.
        """
        total = np.concatenate(([0.0], np.cumsum(self.probabilities)))
        partial = np.concatenate(([0.0], np.cumsum(self.probabilities * self.values_usd)))
        edges = np.linspace(0.0, float(total[-1]), n + 1)
        return np.maximum(np.diff(np.interp(edges, total, partial)), 0.0) * (n / float(total[-1]))

    def _position(self, q: float) -> int:
        if not 0 < q < 1:
            raise ValueError("q must lie between 0 and 1")
        at = int(np.searchsorted(np.cumsum(self.probabilities), q * (1 - 1e-12)))
        return min(at, self.values_usd.size - 1)


def compound(
    law: CountLaw, severities_usd: Usd, counts: Integers | None = None, *, points: int = FFT_POINTS
) -> Distribution:
    """The monthly bill as a sum of N independent severities, exact on a grid by FFT. Results are labelled as a model.

    `severities_usd` (n,) are the costs of single requests (or sessions), `counts` (n,) their frequencies, 1 by default.
    Each severity is split between its two neighbouring grid points, which keeps its mean. The grid is widened until
    wrap-around changes the mean by less than 1e-7. Klugman, Panjer and Willmot, Loss Models, section 9.6.

    Raises:
        ValueError: invalid severities, or only zeros.
        ArithmeticError: no grid is wide enough for the distribution.

    """
    values = checked_bills(severities_usd)
    weights = np.ones(values.size) if counts is None else np.asarray(counts, dtype=np.float64)
    weights = weights / weights.sum()
    severity_mean = dot(weights, values)
    if severity_mean <= 0:
        raise ValueError("every severity is 0: there is no distribution of bills to compute")
    mean = law.mean * severity_mean
    sd = float(np.sqrt(law.mean * dot(weights, (values - severity_mean) ** 2) + law.variance * severity_mean**2))
    span = mean + 16 * sd + float(values.max())
    for _ in range(_MAX_DOUBLINGS):
        step = span / points
        severity = _on_grid(values / step, weights, points)
        bill = np.fft.irfft(law.generating_function(np.fft.rfft(severity)), points)
        probabilities = np.maximum(bill, 0.0)
        probabilities /= probabilities.sum()
        distribution = Distribution(np.arange(points, dtype=np.float64) * step, probabilities)
        if abs(distribution.mean() - mean) <= 1e-7 * mean:
            return distribution
        span *= 2
    raise ArithmeticError(f"no grid of {points} points holds a month of {law.mean:.3g} sessions")


def _on_grid(positions: Usd, weights: Usd, points: int) -> Usd:
    """Distribute weights at real positions over integer positions modulo `points`; keeps the total and the mean."""
    below = np.floor(positions)
    share_above = positions - below
    at = below.astype(np.int64)
    return np.asarray(
        np.bincount(at % points, weights * (1 - share_above), points)
        + np.bincount((at + 1) % points, weights * share_above, points)
    )


def sum_of_independent(losses_usd: Usd, n: int, *, points: int = SUM_POINTS) -> Distribution:
    """The sum of `n` independent draws from `losses_usd` (equally likely), by `n`-fold FFT convolution.

    The losses are centred, so the grid covers the spread of the sum, not its size: 24 standard deviations of the sum,
    and at least four times the range of one loss. Unlike a normal approximation this keeps the skewness.

    A loss can be negative: the provider gains if usage is priced above list.

    Raises:
        ValueError: losses are missing or not finite, or `n` is below 1.

    """
    values = np.asarray(losses_usd, dtype=np.float64)
    if n < 1 or values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError("n must be at least 1, and losses a one-dimensional array of finite numbers")
    mean = float(values.mean())
    span = max(24 * float(values.std()) * float(np.sqrt(n)), 4 * float(np.ptp(values)))
    if span <= 1e-12 * abs(mean) or span == 0:
        return Distribution(np.array([n * mean]), np.ones(1))
    step = span / points
    single = _on_grid((values - mean) / step, np.full(values.size, 1 / values.size), points)
    total = np.maximum(np.fft.irfft(_power(np.fft.rfft(single), n), points), 0.0)
    total /= total.sum()
    half = points // 2
    return Distribution(n * mean + (np.arange(points, dtype=np.float64) - half) * step, np.roll(total, half))


def _power(base: NDArray[np.complex128], n: int) -> NDArray[np.complex128]:
    """`base` to the power of an integer n >= 1 by squaring: five times faster than numpy's general power."""
    result: NDArray[np.complex128] | None = None
    while True:
        if n % 2:
            result = base if result is None else result * base
        n //= 2
        if not n:
            break
        base = base * base
    assert result is not None
    return result
