"""Maximum-likelihood fits of distribution families to (value, count) pairs, and their comparison.

Belongs here: parameter estimation for each family of `laws`, likelihoods, criteria, distances, quantile errors, and the
comparison of the two best families.
Does not belong here: the removal of artefacts before a fit and conclusions about tails (`detection`, `tails`).

The location is fixed at 0: a free location would move mass below zero, where there are no token counts or costs. Values
of zero and below are left out and counted. Densities are per unit of the values, so log-likelihoods are comparable only
within one column. A cap is right-censored: the true value of a row at the cap is the cap or more.

Closed form: exponential, lognormal, inverse Gaussian, Pareto, uniform. One root: gamma, Weibull, truncated normal. One
variable, profiled: Lomax. Two variables, with gradient: log-logistic, Burr XII. Mixtures use several starts. Searches
with a gradient run on at most `MAX_BINS` bins of log x; a few steps on all pairs then refine the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Counts, Floats, check_pairs, dot, quantiles
from pipeline.analysis.stats.laws import (
    LARGE_SHAPE,
    LAWS,
    MAX_ITERATIONS,
    RELATIVE_TOLERANCE,
    cdf,
    inverse_gaussian_probabilities,
    log_gamma_survival,
    quantile,
    softplus,
    stirling_remainder,
)

ACCEPTED_AIC_DIFFERENCE = 10.0  # Burnham and Anderson (2002): essentially no support beyond it
NO_FIT_DISTANCE = 0.05  # a family with this KS distance or less fits, however many rows tell it from the truth
# With few rows chance alone exceeds that. The 99% point of sqrt(n) times the KS distance of rows drawn from the family
# itself, with fitted parameters (Lilliefors, 1967), the largest over shapes and 60 to 420 rows; beyond about 400 rows
# it is below NO_FIT_DISTANCE. `python bench/verdicts.py --distances` computes it.
CHANCE_DISTANCES = {
    "exponential": 1.26,
    "lognormal": 1.03,
    "gamma": 1.10,
    "weibull": 1.03,
    "inverse_gaussian": 1.20,
    "loglogistic": 0.90,
    "lomax": 0.97,
    "burr12": 0.86,
    "lognormal_mixture": 0.88,
    "pareto": 1.27,
    "exponential_mixture": 1.09,
    "gamma_mixture": 0.88,
    "truncated_normal": 1.03,
    "uniform": 1.70,
}
MIN_RELATIVE_SPREAD = 1e-6  # (largest - smallest) / largest; below it a column counts as constant
ERROR_QUANTILES = (0.50, 0.90, 0.95, 0.99)
MAX_BINS = 512  # a step of 0.02 in log x over ten e-folds; the result is refined on all pairs
REFINING_STEPS = 4  # on all pairs; each step reduces the error 10,000 times, with the curvature of the bins
START_BINS = 256  # enough to choose among the starts of a mixture
START_STEPS = 30  # of EM; the most promising starts remain after the first steps
FIRST_STEPS, PROMISING_STARTS, BEST_STARTS = 8, 8, 3
SAME_START = 0.1  # of the largest difference in a parameter
START_QUANTILES = (0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97)
START_MIDDLES = ((1, 5), (2, 4))  # places in START_QUANTILES
START_WIDTHS = (0.05, 0.15, 0.4, 1.0)  # of a window, in sd of log x
MIN_MIXTURE_SIGMA = 0.05  # below both bounds the likelihood of a mixture is unbounded at an atom
MIN_MIXTURE_WEIGHT = 0.02
LARGEST_LOG_MIXED_SHAPE = float(np.log(25.0))  # a gamma with a CV of 0.2; a narrower component would be an atom
LARGEST_EXPONENT = 60.0  # e^-60 is negligible next to 1: the limits of Burr XII (Weibull) and Lomax (exponential)
LARGEST_TRUNCATION = 1e3  # a normal truncated 1,000 sigma above its mean is an exponential
SMALLEST_GAIN_OF_ALL = 1e-6  # of the log-likelihood; on a flat one, hundreds more steps would gain less
SMALLEST_GAIN = 1e-13  # of the mean log-likelihood per row: a total of 1e-6 for 1e7 rows
LONGEST_STEP = 3.0  # of a logarithm or logit, per step of a search
LARGEST_LOG_SCALE = 600.0  # e^600 is still a float


@dataclass(frozen=True)
class Fit:
    """One family fitted to one column; `q*_error` is fitted / observed quantile - 1, None if the quantile is censored.

    A family that is not `selectable` ranks behind the others, has no weight and is not accepted. Up to a KS distance of
    `ks_limit` it fits: `NO_FIT_DISTANCE`, or with few rows what chance explains.
    """

    family: str
    params: dict[str, float]
    n: int
    log_likelihood: float
    n_params: int
    aic: float
    bic: float
    aic_weight: float
    bic_weight: float
    ks_distance: float
    ks_limit: float
    accepted: bool
    rank: int
    q50_error: float | None
    q90_error: float | None
    q95_error: float | None
    q99_error: float | None
    selectable: bool = True

    @property
    def label(self) -> str:
        """The family's name for use in a sentence."""
        return LAWS[self.family].label

    @property
    def passes(self) -> bool:
        """Whether the rows could come from this family, or from one so similar that the difference does not matter."""
        return self.selectable and self.ks_distance <= self.ks_limit


@dataclass(frozen=True)
class Comparison:
    """The first-ranked family against the second.

    `vuong`: z of the mean log-likelihood ratio per row (Vuong, 1989), positive for the first, and the two-sided p.
    `likelihood_ratio`: for nested families, twice the gain in log-likelihood of the larger family, and its chi-square
    p; a small p favours the larger family.
    """

    first: str
    second: str
    method: Literal["vuong", "likelihood_ratio"]
    statistic: float
    p_value: float


@dataclass(frozen=True)
class FamilyFits:
    """All fits of one column by rank (BIC), or no fits and a note that says why.

    `n` counts the rows used, `excluded` those at or below zero, `censored` those at the cap. `note` is empty if any
    family passes the test of its fit.
    """

    status: Literal["fitted", "too_few"]
    fits: tuple[Fit, ...]
    n: int
    excluded: int
    censored: int
    note: str
    comparison: Comparison | None = None


@dataclass(frozen=True)
class _Sample:
    """Positive pairs below the cap, and the number of rows at the cap."""

    x: Floats
    c: Counts
    cap: float
    censored: int

    @cached_property
    def seen(self) -> int:
        return int(self.c.sum())

    @property
    def n(self) -> int:
        return self.seen + self.censored

    @cached_property
    def logs(self) -> Floats:
        logs: Floats = np.log(self.x)
        return logs

    @cached_property
    def standard(self) -> _Standard:
        """The logarithms with mean 0 and sd 1, for the searches."""
        mean = self.total(self.logs) / self.seen
        spread = float(np.sqrt(self.total((self.logs - mean) ** 2) / self.seen))
        cap = (float(np.log(self.cap)) - mean) / spread if self.censored else 0.0
        return _Standard((self.logs - mean) / spread, self.rows, cap, float(self.censored), mean, spread)

    @cached_property
    def rows(self) -> Floats:
        return self.c.astype(np.float64)

    @cached_property
    def observed_quantiles(self) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The quantiles of `ERROR_QUANTILES`, and which of them are at the cap."""
        x, c = self.x, self.c
        if self.censored:
            x, c = np.append(x, self.cap), np.append(c, self.censored)
        reached = quantiles(np.arange(len(x), dtype=np.float64), c, ERROR_QUANTILES) > len(self.x) - 1
        return quantiles(x, c, ERROR_QUANTILES), reached

    def total(self, terms: Floats) -> float:
        return dot(terms, self.rows)

    @cached_property
    def mixture_starts(self) -> list[Floats]:
        """From where both kinds of mixtures of five variables are searched."""
        return _mixture_starts(self.standard.in_bins(START_BINS), MIN_MIXTURE_SIGMA / self.standard.spread)


@dataclass(frozen=True)
class _Standard:
    """Standardised logarithms t = (log x - mean) / spread with weights, and the rows censored at t = `cap`."""

    t: Floats
    c: Floats
    cap: float
    censored: float
    mean: float
    spread: float

    @cached_property
    def seen(self) -> float:
        return float(self.c.sum())

    @cached_property
    def binned(self) -> _Standard:
        return self.in_bins(MAX_BINS)

    def in_bins(self, bins: int) -> _Standard:
        """At most `bins` points, each the mean t of its bin; unchanged if there are no more points than bins."""
        if len(self.t) <= bins:
            return self
        width = (self.t[-1] - self.t[0]) / bins
        index = np.minimum(((self.t - self.t[0]) / width).astype(np.int64), bins - 1)
        rows: Floats = np.bincount(index, self.c, bins).astype(np.float64)
        sums = np.bincount(index, self.c * self.t, bins)
        filled = rows > 0
        return _Standard(sums[filled] / rows[filled], rows[filled], self.cap, self.censored, self.mean, self.spread)


@dataclass(frozen=True)
class _Estimate:
    params: dict[str, float]
    log_likelihood: float


# Mean log-likelihood per uncensored row, in standardised logarithms, and its gradient, at a point.
_Objective = Callable[[Floats], tuple[float, Floats]]
_Bounds = Sequence[tuple[float, float]]


def _curvature(objective: _Objective, point: Floats, gradient: Floats, axes: npt.NDArray[np.int64]) -> Floats:
    """Second derivatives along the axes, from differences to `gradient`, the gradient of `objective` at the point."""
    step = 1e-5
    columns = []
    for axis in axes:
        shifted = point.copy()
        shifted[axis] += step
        columns.append((objective(shifted)[1] - gradient)[axes] / step)
    matrix = np.array(columns)
    symmetric: Floats = (matrix + matrix.T) / 2
    return symmetric


def _climb(
    objective: _Objective, rough: _Objective, point: Floats, bounds: _Bounds, rows: float, steps: int = MAX_ITERATIONS
) -> tuple[Floats, float]:
    """Newton's method within bounds, with the gradient of `objective` and the curvature of `rough`.

    Where the surface is not concave, steps use the absolute curvature (saddle-free Newton). A step is halved until it
    improves the value; the search ends when no step does.
    """
    low, high = np.array(bounds).T
    point = np.clip(point, low, high)
    value, gradient = objective(point)
    min_gain = max(SMALLEST_GAIN, SMALLEST_GAIN_OF_ALL / rows)
    for _ in range(steps):
        free = ~(((point <= low) & (gradient < 0)) | ((point >= high) & (gradient > 0)))
        axes = np.flatnonzero(free)
        if len(axes) == 0 or np.abs(gradient[axes]).max() < 1e-10:
            break
        matrix = _curvature(rough, point, gradient if rough is objective else rough(point)[1], axes)
        if not np.isfinite(matrix).all():
            break
        strength, directions = np.linalg.eigh(matrix)
        strength = np.maximum(np.abs(strength), 1e-9)
        change = np.zeros(len(point))
        change[axes] = directions @ ((directions.T @ gradient[axes]) / strength)
        if dot(gradient, change) < min_gain:
            break
        change *= min(1.0, LONGEST_STEP / float(np.abs(change).max()))
        for _ in range(20):
            moved = np.clip(point + change, low, high)
            new_value, new_gradient = objective(moved)
            if new_value > value and np.isfinite(new_gradient).all():
                break
            change = change / 2
        else:
            break
        gain, point, value, gradient = new_value - value, moved, new_value, new_gradient
        if gain < min_gain:
            break
    return point, value


def _search(
    make: Callable[[_Standard], _Objective], data: _Standard, starts: Sequence[Floats], bounds: _Bounds
) -> tuple[Floats, float]:
    """Maximise on the bins from each start, then on all pairs from the best: the point and its value."""
    point, value = _rough_search(make, data, starts, bounds)
    return (point, value) if data.binned is data else _refined(make, data, point, bounds)


def _rough_search(
    make: Callable[[_Standard], _Objective], data: _Standard, starts: Sequence[Floats], bounds: _Bounds
) -> tuple[Floats, float]:
    """The best point on the bins."""
    rough = make(data.binned)
    with np.errstate(all="ignore"):
        return max((_climb(rough, rough, start, bounds, data.seen) for start in starts), key=lambda found: found[1])


def _refined(
    make: Callable[[_Standard], _Objective], data: _Standard, point: Floats, bounds: _Bounds
) -> tuple[Floats, float]:
    """The maximum on all pairs near the point found on the bins."""
    with np.errstate(all="ignore"):
        return _climb(make(data), make(data.binned), point, bounds, data.seen, REFINING_STEPS)


def _simplex(objective: Callable[[Floats], float], start: list[float]) -> tuple[Floats, float]:
    """Maximise a smooth function of two parameters with O(1) evaluations; run twice, in case the first stops early."""
    from scipy import optimize

    def loss(point: Floats) -> float:
        with np.errstate(all="ignore"):
            value = objective(point)
        return -value if np.isfinite(value) else 1e300

    point = np.asarray(start, dtype=np.float64)
    for _ in range(2):
        result = optimize.minimize(
            loss, point, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 2000, "maxfev": 4000}
        )
        point = np.asarray(result.x, dtype=np.float64)
    return point, -float(result.fun)


def _exponential(sample: _Sample) -> _Estimate:
    """Closed form: the sum of all values over the number of uncensored rows."""
    at_cap = sample.censored * sample.cap if sample.censored else 0.0
    amount = sample.total(sample.x) + at_cap
    scale = amount / sample.seen
    return _Estimate({"scale": scale}, -sample.seen * (np.log(scale) + 1))


def _lognormal(sample: _Sample) -> _Estimate:
    """Closed form; with a cap, the two-parameter censored likelihood on sufficient statistics."""
    from scipy import special

    logs = sample.logs
    seen = sample.seen
    mean = sample.total(logs) / seen
    variance = sample.total((logs - mean) ** 2) / seen
    constant = -sample.total(logs) - seen / 2 * np.log(2 * np.pi)
    sigma = float(np.sqrt(variance))
    if not sample.censored:
        return _Estimate({"mu": mean, "sigma": sigma}, constant - seen * (np.log(sigma) + 0.5))
    log_cap = float(np.log(sample.cap))

    def log_likelihood(point: Floats) -> float:
        mu, s = point[0], np.exp(point[1])
        squares = seen * (variance + (mean - mu) ** 2)
        survival = special.log_ndtr((mu - log_cap) / s)
        return float(constant - seen * np.log(s) - squares / (2 * s * s) + sample.censored * survival)

    point, best = _simplex(log_likelihood, [mean, float(np.log(sigma))])
    return _Estimate({"mu": float(point[0]), "sigma": float(np.exp(point[1]))}, best)


def _gamma_shape(gap: float) -> float:
    """Root a of log(a) - digamma(a) = gap by Minka's generalised Newton method (2002)."""
    from scipy import special

    shape = (3 - gap + float(np.sqrt((gap - 3) ** 2 + 24 * gap))) / (12 * gap)
    if shape > LARGE_SHAPE:
        return (1 + float(np.sqrt(1 + 4 * gap / 3))) / (4 * gap)
    for _ in range(MAX_ITERATIONS):
        residual = float(np.log(shape) - special.digamma(shape)) - gap
        slope = 1 / shape - float(special.polygamma(1, shape))
        updated = 1 / (1 / shape + residual / (shape * shape * slope))
        if abs(updated - shape) <= RELATIVE_TOLERANCE * shape:
            return updated
        shape = updated
    return shape


def _gamma(sample: _Sample) -> _Estimate:
    """One Newton root; with a cap, the two-parameter censored likelihood on sufficient statistics."""
    seen = sample.seen
    mean = sample.total(sample.x) / seen
    ratio = sample.x / mean
    excess = ratio - 1
    log_ratio = np.where(np.abs(excess) < 0.5, np.log1p(np.maximum(excess, -0.5)), np.log(ratio))
    gap = sample.total(excess - log_ratio) / seen
    mean_log = sample.total(sample.logs) / seen
    shape = _gamma_shape(gap)
    if not sample.censored:
        log_likelihood = seen * (stirling_remainder(shape) - shape * gap - mean_log)
        return _Estimate({"shape": shape, "scale": mean / shape}, log_likelihood)

    def censored_log_likelihood(point: Floats) -> float:
        """At log shape and log of (mean of the uncensored rows / mean of the distribution)."""
        a, shift = float(np.exp(point[0])), float(point[1])
        density = stirling_remainder(a) - mean_log - a * (gap + float(np.expm1(shift)) - shift)
        return seen * density + sample.censored * float(
            log_gamma_survival(a, np.array(a * sample.cap / mean * np.exp(shift)))
        )

    point, best = _simplex(censored_log_likelihood, [float(np.log(shape)), 0.0])
    shape = float(np.exp(point[0]))
    return _Estimate({"shape": shape, "scale": mean * float(np.exp(-point[1])) / shape}, best)


def _weibull_shape(sample: _Sample) -> float:
    """One root of the profile likelihood in the shape, by Newton's method in a bracket; a cap adds a term to sums."""
    mean_log = sample.total(sample.logs) / sample.seen
    every, rows = _with_cap(sample)
    top = float(every[-1])
    below = every - top

    def moments(k: float) -> tuple[float, float, float]:
        weights = rows * np.exp(k * below)
        first = weights * below
        return float(weights.sum()), float(first.sum()), dot(first, below)

    spread = float(np.sqrt(np.sum(rows * (every - np.average(every, weights=rows)) ** 2) / rows.sum()))
    shape = float(np.pi / np.sqrt(6)) / spread
    low, high = 0.0, np.inf
    for _ in range(MAX_ITERATIONS):
        zeroth, first, second = moments(shape)
        score = first / zeroth + (top - mean_log) - 1 / shape
        low, high = (shape, high) if score < 0 else (low, shape)
        slope = second / zeroth - (first / zeroth) ** 2 + 1 / shape**2
        updated = shape - score / slope
        if not low < updated < high:
            updated = shape * 2 if np.isinf(high) else (low + high) / 2
        if abs(updated - shape) <= RELATIVE_TOLERANCE * shape:
            break
        shape = updated
    return shape


def _with_cap(sample: _Sample) -> tuple[Floats, Floats]:
    """Logarithms and rows, including those at the cap."""
    if not sample.censored:
        return sample.logs, sample.rows
    return np.append(sample.logs, np.log(sample.cap)), np.append(sample.rows, sample.censored)


def _weibull(sample: _Sample) -> _Estimate:
    """The scale follows from the shape in closed form."""
    seen, shape = sample.seen, _weibull_shape(sample)
    mean_log = sample.total(sample.logs) / seen
    every, rows = _with_cap(sample)
    top = float(every[-1])
    log_sum = shape * top + float(np.log(dot(rows, np.exp(shape * (every - top))) / seen))
    log_likelihood = seen * (float(np.log(shape)) - log_sum + (shape - 1) * mean_log - 1)
    return _Estimate({"shape": shape, "scale": float(np.exp(log_sum / shape))}, log_likelihood)


def _inverse_gaussian(sample: _Sample) -> _Estimate:
    """Closed form; with a cap, the two-parameter censored likelihood on sufficient statistics.

    mean / lam is the mean of (r - 1)^2 / r with r = x / mean, which equals the textbook's mean(1 / x) - 1 / mean
    without its cancellation. If a cap censors so much that the likelihood increases towards an infinite mean (a Lévy
    distribution), the result is a very large mean.
    """
    seen = sample.seen
    mean = sample.total(sample.x) / seen
    ratio = sample.x / mean
    gap = sample.total((ratio - 1) ** 2 / ratio) / seen
    constant = -1.5 * sample.total(sample.logs) - seen / 2 * float(np.log(2 * np.pi))
    if not sample.censored:
        lam = mean / gap
        return _Estimate({"mean": mean, "lam": lam}, constant + seen / 2 * (float(np.log(lam)) - 1))
    cap = np.array([sample.cap])

    def log_likelihood(point: Floats) -> float:
        """At the log of (mean of the distribution / mean of the uncensored rows) and log lam."""
        lam = float(np.exp(point[1]))
        squares = gap + float(np.expm1(-point[0])) ** 2
        density = constant + seen / 2 * (float(point[1]) - lam / mean * squares)
        _, survival = inverse_gaussian_probabilities(mean * float(np.exp(point[0])), lam, cap)
        return density + sample.censored * float(survival[0])

    point, best = _simplex(log_likelihood, [0.0, float(np.log(mean / gap))])
    return _Estimate({"mean": mean * float(np.exp(point[0])), "lam": float(np.exp(point[1]))}, best)


def _logistic(w: Floats) -> tuple[Floats, Floats]:
    """log(1 + e^w) and its derivative."""
    small = np.exp(-np.abs(w))
    return np.maximum(w, 0) + np.log1p(small), np.where(w > 0, 1.0, small) / (1 + small)


def _loglogistic_objective(data: _Standard) -> _Objective:
    """log x is logistic: (x / scale) ** shape = e^w with w = a + k t. At (a, log k); concave in (a, k)."""
    mean_t = dot(data.c, data.t) / data.seen
    capped = data.censored / data.seen

    def objective(point: Floats) -> tuple[float, Floats]:
        a, k = float(point[0]), float(np.exp(point[1]))
        plus, slope = _logistic(a + k * data.t)
        value = point[1] + a + k * mean_t - 2 * dot(data.c, plus) / data.seen
        weighted = data.c * slope
        by_a = 1 - 2 * float(weighted.sum()) / data.seen
        by_k = mean_t - 2 * dot(weighted, data.t) / data.seen
        if capped:
            at_cap, cap_slope = (float(part) for part in _logistic(np.array(a + k * data.cap)))
            value -= capped * at_cap
            by_a -= capped * cap_slope
            by_k -= capped * cap_slope * data.cap
        return float(value), np.array([by_a, 1 + k * by_k])

    return objective


def _burr_objective(data: _Standard) -> _Objective:
    """(x / scale) ** c = e^w with w = a + k t. At (a, log k); d = rows / sum of log(1 + e^w) is profiled out."""
    mean_t = dot(data.c, data.t) / data.seen
    capped = data.censored / data.seen

    def objective(point: Floats) -> tuple[float, Floats]:
        a, k = float(point[0]), float(np.exp(point[1]))
        plus, slope = _logistic(a + k * data.t)
        mean_plus = dot(data.c, plus) / data.seen
        weighted = data.c * slope
        mean_slope = float(weighted.sum()) / data.seen
        mean_slope_t = dot(weighted, data.t) / data.seen
        total, by_a, by_k = mean_plus, mean_slope, mean_slope_t
        if capped:
            at_cap, cap_slope = (float(part) for part in _logistic(np.array(a + k * data.cap)))
            total += capped * at_cap
            by_a += capped * cap_slope
            by_k += capped * cap_slope * data.cap
        if not total > 0:  # every term underflows
            return -np.inf, np.zeros(2)
        value = point[1] - np.log(total) + a + k * mean_t - mean_plus - 1
        gradient_a = 1 - by_a / total - mean_slope
        gradient_k = 1 + k * (mean_t - by_k / total - mean_slope_t)
        return float(value), np.array([gradient_a, gradient_k])

    return objective


def _lomax_objective(data: _Standard) -> _Objective:
    """Burr XII with c = 1, so k = spread. One variable: a = (mean log x) - log(scale)."""
    burr, log_k = _burr_objective(data), float(np.log(data.spread))

    def objective(point: Floats) -> tuple[float, Floats]:
        value, gradient = burr(np.array([point[0], log_k]))
        return value, gradient[:1]

    return objective


def _from_value(data: _Standard, value: float) -> float:
    """The log-likelihood of x from the mean log-likelihood per row of t."""
    return data.seen * (value - float(np.log(data.spread)) - data.mean) - dot(data.c, data.t) * data.spread


def _tail_exponent(data: _Standard, a: float, k: float) -> float:
    """The maximum-likelihood d of Burr XII at (a, k)."""
    total = dot(data.c, softplus(a + k * data.t))
    if data.censored:
        total += data.censored * float(softplus(np.array(a + k * data.cap)))
    return data.seen / total


def _loglogistic(sample: _Sample) -> _Estimate:
    """Two variables; the likelihood of a log-logistic has one maximum, censored or not."""
    data = sample.standard
    bounds = ((-LARGEST_EXPONENT, LARGEST_EXPONENT), (-7.0, 14.0))
    (a, log_k), value = _search(_loglogistic_objective, data, [np.array([0.0, 0.6])], bounds)
    shape = float(np.exp(log_k)) / data.spread
    return _Estimate({"shape": shape, "scale": float(np.exp(data.mean - a / shape))}, _from_value(data, value))


def _lomax(sample: _Sample) -> _Estimate:
    """One variable: a grid, then a refinement. With an infinite scale it is the exponential."""
    data = sample.standard
    log_mean = float(np.log(sample.total(sample.x / sample.x[-1]) / sample.seen) + np.log(sample.x[-1]))
    lowest = data.mean - log_mean - 18.0
    highest = data.mean - float(sample.logs[0]) + 12.0
    objective = _lomax_objective(data.in_bins(START_BINS))
    grid = np.linspace(lowest, highest, 48)
    heights = [objective(np.array([a]))[0] for a in grid]
    start = np.array([grid[int(np.argmax(heights))]])
    (a,), value = _search(_lomax_objective, data, [start, np.array([lowest])], ((lowest, highest),))
    alpha = _tail_exponent(data, float(a), data.spread)
    return _Estimate({"alpha": alpha, "scale": float(np.exp(data.mean - a))}, _from_value(data, value))


def _sharp_burr_objective(data: _Standard) -> _Objective:
    """The Burr objective at (-a / k, log k): near a sharp lower end k grows, while this point stays at the end."""
    burr = _burr_objective(data)

    def objective(point: Floats) -> tuple[float, Floats]:
        k = float(np.exp(point[1]))
        value, gradient = burr(np.array([-k * point[0], point[1]]))
        return value, np.array([-k * gradient[0], gradient[1] - k * point[0] * gradient[0]])

    return objective


def _burr(sample: _Sample) -> _Estimate:
    """Two variables; starts at the log-logistic, the Lomax, between both, the Weibull limit, and sharp lower ends."""
    data = sample.standard
    low, high = float(data.t[0]), float(data.t[-1])
    starts = [np.array([0.0, 0.6]), np.array([0.0, np.log(data.spread)]), np.array([-6.0, 0.25])]
    rough = _burr_objective(data.binned)
    starts.sort(key=lambda point: -rough(point)[0])
    bounds = ((-LARGEST_EXPONENT, LARGEST_EXPONENT), (-7.0, 16.0))
    limit = np.array([-LARGEST_EXPONENT, 0.25])
    point, value = _rough_search(_burr_objective, data, [*starts[:2], limit], bounds)
    ends = [np.array([low, 3.0]), np.array([low, 7.0]), np.array([(low + high) / 2, 3.0])]
    sharp_bounds = ((low - 1, high + 1), (-7.0, 16.0))
    sharp_point, sharp_value = _rough_search(_sharp_burr_objective, data, ends, sharp_bounds)
    if sharp_value > value:
        (knee, log_k), value = _refined(_sharp_burr_objective, data, sharp_point, sharp_bounds)
        a = -float(knee) * float(np.exp(log_k))
    else:
        (a, log_k), value = _refined(_burr_objective, data, point, bounds)
    k = float(np.exp(log_k))
    c = k / data.spread
    if -a / c > LARGEST_LOG_SCALE - data.mean:
        a = -c * (LARGEST_LOG_SCALE - data.mean)
        value, _ = _burr_objective(data)(np.array([a, log_k]))
    params = {"c": c, "d": _tail_exponent(data, float(a), k), "scale": float(np.exp(data.mean - a / c))}
    return _Estimate(params, _from_value(data, value))


def _log_shares(logit: float) -> tuple[float, float]:
    return -float(softplus(np.array(-logit))), -float(softplus(np.array(logit)))


def _mixture_objective(data: _Standard) -> _Objective:
    """At (logit of the first share, mean 1, log sigma 1, mean 2, log sigma 2), in t."""
    constant = 0.5 * float(np.log(2 * np.pi))
    capped = data.censored / data.seen

    def objective(point: Floats) -> tuple[float, Floats]:
        from scipy import special

        logit, mu1, log_s1, mu2, log_s2 = (float(part) for part in point)
        log_p, log_q = _log_shares(logit)
        p, s1, s2 = float(np.exp(log_p)), float(np.exp(log_s1)), float(np.exp(log_s2))
        z1, z2 = (data.t - mu1) / s1, (data.t - mu2) / s2
        first = log_p - log_s1 - 0.5 * z1 * z1
        gap = log_q - log_s2 - 0.5 * z2 * z2 - first
        plus, of_second = _logistic(gap)
        value = dot(data.c, first + plus) / data.seen - constant
        weight2 = data.c * of_second / data.seen
        weight1 = data.c / data.seen - weight2
        gradient = np.array(
            [
                float(weight1.sum()) - p,
                dot(weight1, z1) / s1,
                dot(weight1, z1 * z1 - 1),
                dot(weight2, z2) / s2,
                dot(weight2, z2 * z2 - 1),
            ]
        )
        if capped:
            u1, u2 = (data.cap - mu1) / s1, (data.cap - mu2) / s2
            beyond1, beyond2 = float(special.log_ndtr(-u1)), float(special.log_ndtr(-u2))
            together = float(np.logaddexp(log_p + beyond1, log_q + beyond2))
            r1 = float(np.exp(log_p + beyond1 - together))
            hazards = [float(np.exp(-0.5 * u * u - constant - b)) for u, b in ((u1, beyond1), (u2, beyond2))]
            value += capped * together
            gradient += capped * np.array(
                [
                    r1 - p,
                    r1 * hazards[0] / s1,
                    r1 * hazards[0] * u1,
                    (1 - r1) * hazards[1] / s2,
                    (1 - r1) * hazards[1] * u2,
                ]
            )
        return value, gradient

    return objective


def _mixture_starts(data: _Standard, min_sigma: float) -> list[Floats]:
    """The best few starts after EM steps, all at once; capped rows count as uncensored.

    Each start gives the rows of one interval to a component and the rest to the other: the two sides of a split (of
    the best one, which is 2-means, of the halves and of either tail), the middle against both ends, and the windows
    that hold the most rows beyond what one lognormal explains.
    """
    from scipy import special

    t = np.append(data.t, data.cap) if data.censored else data.t
    c = np.append(data.c, data.censored) if data.censored else data.c
    share = c / c.sum()
    upto = np.cumsum(share)
    mean = dot(t, share)
    with np.errstate(all="ignore"):
        between = np.nan_to_num((np.cumsum(share * t) - upto * mean) ** 2 / (upto * (1 - upto)), posinf=0.0)
    between[-1] = 0.0
    at = np.minimum(np.searchsorted(upto, START_QUANTILES), len(t) - 1)
    ends = [(-np.inf, float(t[place])) for place in (*at, int(np.argmax(between)))]
    ends += [(float(t[at[first]]), float(t[at[last]])) for first, last in START_MIDDLES]
    for width in START_WIDTHS:
        after = np.searchsorted(t, t + max(width, 2 * min_sigma), side="right") - 1
        excess = upto[after] - upto + share - (special.ndtr(t[after]) - special.ndtr(t))
        first = int(np.argmax(excess))
        ends.append((float(t[first]), float(t[after[first]])))
    low, high = np.array(ends).T[:, :, None]
    inside = (t >= low) & (t <= high)
    weight = np.array([inside, ~inside]) * share
    for step in range(START_STEPS):
        rows = np.maximum(weight.sum(axis=2), 1e-12)
        mu = weight @ t / rows
        variance = (weight * (t - mu[:, :, None]) ** 2).sum(axis=2) / rows
        sigma = np.maximum(np.sqrt(variance), min_sigma)
        p = np.clip(rows[0] / rows.sum(axis=0), MIN_MIXTURE_WEIGHT, 1 - MIN_MIXTURE_WEIGHT)
        z = (t - mu[:, :, None]) / sigma[:, :, None]
        density = np.exp(-0.5 * z * z) * (np.array([p, 1 - p]) / sigma)[:, :, None]
        together = np.maximum(density.sum(axis=0), 1e-300)
        height = np.log(together) @ share
        weight = density / together * share
        if step == FIRST_STEPS:
            weight = weight[:, np.argsort(-height)[:PROMISING_STARTS]]
    chosen: list[Floats] = []
    for index in np.argsort(-height):
        logit = float(np.log(p[index] / (1 - p[index])))
        place = np.array(
            [logit, mu[0, index], np.log(sigma[0, index]), mu[1, index], np.log(sigma[1, index])], dtype=np.float64
        )
        swapped = place[[0, 3, 4, 1, 2]] * [-1, 1, 1, 1, 1]
        if all(min(np.abs(place - one).max(), np.abs(swapped - one).max()) > SAME_START for one in chosen):
            chosen.append(place)
    return chosen[:BEST_STARTS]


def _lognormal_mixture(sample: _Sample) -> _Estimate:
    """Five variables; the component with the smaller mean of log x comes first."""
    data = sample.standard
    min_sigma = MIN_MIXTURE_SIGMA / data.spread
    edge = float(np.log(1 / MIN_MIXTURE_WEIGHT - 1))
    reach = (float(data.t[0]) - 1.0, max(float(data.t[-1]), data.cap) + 3.0)
    sigmas = (float(np.log(min_sigma)), max(float(np.log(min_sigma)), 0.0) + 3.0)
    bounds = ((-edge, edge), reach, sigmas, reach, sigmas)
    point, value = _search(_mixture_objective, data, sample.mixture_starts, bounds)
    p = float(1 / (1 + np.exp(-point[0])))
    parts = [(p, point[1], point[2]), (1 - p, point[3], point[4])]
    (p, mu1, log_s1), (_, mu2, log_s2) = sorted(parts, key=lambda part: float(part[1]))
    params = {
        "p": float(np.clip(p, MIN_MIXTURE_WEIGHT, 1 - MIN_MIXTURE_WEIGHT)),
        "mu1": data.mean + data.spread * float(mu1),
        "sigma1": max(data.spread * float(np.exp(log_s1)), MIN_MIXTURE_SIGMA),
        "mu2": data.mean + data.spread * float(mu2),
        "sigma2": max(data.spread * float(np.exp(log_s2)), MIN_MIXTURE_SIGMA),
    }
    return _Estimate(params, _from_value(data, value))


def _exponential_mixture_objective(data: _Standard) -> _Objective:
    """At (logit of the first share, log rate 1, log rate 2) of y = e^(spread t); the density is that of t."""
    y = np.exp(data.spread * data.t)
    cap = float(np.exp(data.spread * data.cap))
    jacobian = float(np.log(data.spread)) + data.spread * dot(data.c, data.t) / data.seen
    capped = data.censored / data.seen

    def objective(point: Floats) -> tuple[float, Floats]:
        logit, log_r1, log_r2 = (float(part) for part in point)
        log_p, log_q = _log_shares(logit)
        p, r1, r2 = float(np.exp(log_p)), float(np.exp(log_r1)), float(np.exp(log_r2))
        first = log_p + log_r1 - r1 * y
        second = log_q + log_r2 - r2 * y
        _, of_second = _logistic(second - first)
        value = dot(data.c, np.logaddexp(first, second)) / data.seen + jacobian
        weight2 = data.c * of_second / data.seen
        weight1 = data.c / data.seen - weight2
        gradient = np.array(
            [
                float(weight1.sum()) - p,
                dot(weight1, 1 - r1 * y),
                dot(weight2, 1 - r2 * y),
            ]
        )
        if capped:
            together = float(np.logaddexp(log_p - r1 * cap, log_q - r2 * cap))
            of_first = float(np.exp(log_p - r1 * cap - together))
            value += capped * together
            gradient += capped * np.array([of_first - p, -of_first * r1 * cap, -(1 - of_first) * r2 * cap])
        return value, gradient

    return objective


def _exponential_mixture(sample: _Sample) -> _Estimate:
    """Three variables from three starts; a convex combination of exponentials is light-tailed and over-dispersed."""
    data = sample.standard
    mean = dot(data.c, np.exp(data.spread * data.t)) / data.seen
    rate = -float(np.log(mean))
    starts = [
        np.array([logit, rate + low, rate - high])
        for logit, low, high in ((0.0, 0.6, 0.4), (2.0, 0.4, 1.2), (-2.0, 2.0, 0.1))
    ]
    bounds = ((-7.0, 7.0), (rate - 12, rate + 12), (rate - 12, rate + 12))
    point, value = _search(_exponential_mixture_objective, data, starts, bounds)
    p = float(1 / (1 + np.exp(-point[0])))
    unit = float(np.exp(data.mean))
    parts = [(p, unit * float(np.exp(-point[1]))), (1 - p, unit * float(np.exp(-point[2])))]
    (p, scale1), (_, scale2) = sorted(parts, key=lambda part: part[1])
    return _Estimate({"p": p, "scale1": scale1, "scale2": scale2}, _from_value(data, value))


def _gamma_mixture_objective(data: _Standard) -> _Objective:
    """At (logit of the first share, log shape 1, log mean 1, log shape 2, log mean 2) of y = e^(spread t); in t."""
    from scipy import special

    y, log_y = np.exp(data.spread * data.t), data.spread * data.t
    cap = float(np.exp(data.spread * data.cap))
    jacobian = float(np.log(data.spread))
    capped = data.censored / data.seen

    def survival(log_shape: float, log_mean: float) -> float:
        shape = float(np.exp(log_shape))
        return float(log_gamma_survival(shape, np.array(shape * cap * np.exp(-log_mean))))

    def objective(point: Floats) -> tuple[float, Floats]:
        logit = float(point[0])
        log_p, log_q = _log_shares(logit)
        p = float(np.exp(log_p))
        parts, slopes = [], []
        for log_shape, log_mean in (point[1:3], point[3:5]):
            shape = float(np.exp(log_shape))
            ratio = y * float(np.exp(-log_mean))
            log_ratio = log_y - float(log_mean)
            parts.append(shape * (log_ratio - ratio + float(log_shape)) - float(special.gammaln(shape)))
            slopes.append(
                (shape * (log_ratio - ratio + 1 + float(log_shape - special.digamma(shape))), shape * (ratio - 1))
            )
        first = log_p + parts[0]
        second = log_q + parts[1]
        _, of_second = _logistic(second - first)
        value = dot(data.c, np.logaddexp(first, second)) / data.seen + jacobian
        weight2 = data.c * of_second / data.seen
        weight1 = data.c / data.seen - weight2
        gradient = [float(weight1.sum()) - p]
        for weight, slope in zip((weight1, weight2), slopes, strict=True):
            gradient += [dot(weight, part) for part in slope]
        if capped:
            beyond = [survival(*point[1:3]), survival(*point[3:5])]
            together = float(np.logaddexp(log_p + beyond[0], log_q + beyond[1]))
            of_first = float(np.exp(log_p + beyond[0] - together))
            value += capped * together
            gradient[0] += capped * (of_first - p)
            for index, share in ((1, of_first), (3, 1 - of_first)):
                for offset in (0, 1):
                    shift = np.zeros(2)
                    shift[offset] = 1e-6
                    high, low = (
                        survival(*(point[index : index + 2] + shift)),
                        survival(*(point[index : index + 2] - shift)),
                    )
                    gradient[index + offset] += capped * share * (high - low) / 2e-6
        return value, np.array(gradient)

    return objective


def _gamma_mixture(sample: _Sample) -> _Estimate:
    """Five variables from the two best starts of the lognormal mixture, converted to shape and mean."""
    data = sample.standard
    edge = float(np.log(1 / MIN_MIXTURE_WEIGHT - 1))
    starts = []
    for logit, mu1, log_s1, mu2, log_s2 in sample.mixture_starts:
        start = [float(logit)]
        for mu, log_s in ((mu1, log_s1), (mu2, log_s2)):
            variance = float(np.exp(2 * log_s)) * data.spread**2
            start += [-float(np.log(np.expm1(min(variance, 3.0)))), float(mu) * data.spread + min(variance, 3.0) / 2]
        starts.append(np.array(start))
    reach = (float(data.t[0]) * data.spread - 1, max(float(data.t[-1]), data.cap) * data.spread + 1)
    shapes = (-4.0, LARGEST_LOG_MIXED_SHAPE)
    point, value = _search(_gamma_mixture_objective, data, starts, ((-edge, edge), shapes, reach, shapes, reach))
    p = float(1 / (1 + np.exp(-point[0])))
    unit = float(np.exp(data.mean))
    parts = [(p, *np.exp(point[1:3])), (1 - p, *np.exp(point[3:5]))]
    (p, shape1, mean1), (_, shape2, mean2) = sorted(parts, key=lambda part: float(part[2]))
    params = {
        "p": float(p),
        "shape1": float(shape1),
        "scale1": unit * float(mean1 / shape1),
        "shape2": float(shape2),
        "scale2": unit * float(mean2 / shape2),
    }
    return _Estimate(params, _from_value(data, value))


def _pareto(sample: _Sample) -> _Estimate:
    """Closed form: the smallest value, and the uncensored rows over the sum of log(x / smallest)."""
    smallest = float(sample.x[0])
    total = sample.total(np.log(sample.x / smallest))
    total += sample.censored * float(np.log(sample.cap / smallest)) if sample.censored else 0.0
    alpha = sample.seen / total
    log_likelihood = sample.seen * float(np.log(alpha)) - sample.total(sample.logs) - sample.seen
    return _Estimate({"alpha": alpha, "xmin": smallest}, log_likelihood)


def _uniform(sample: _Sample) -> _Estimate:
    """Closed form: the smallest and largest value; with a cap, the upper end follows from the censored share."""
    low, high = float(sample.x[0]), float(sample.x[-1])
    log_likelihood = 0.0
    if sample.censored:
        high = low + (sample.cap - low) * sample.n / sample.seen
        log_likelihood = sample.censored * float(np.log(sample.censored / sample.n))
    return _Estimate({"low": low, "high": high}, log_likelihood - sample.seen * float(np.log(high - low)))


def _mean_beyond(t: float) -> float:
    """Mean of Z - t for a standard normal Z above t; a series where the difference would cancel."""
    from scipy import special

    if t > 50:
        return 1 / t - 2 / t**3 + 10 / t**5
    return float(np.sqrt(2 / np.pi) / special.erfcx(t / np.sqrt(2))) - t


def half_line_normal(ratio: float) -> tuple[float, float]:
    """Maximum-likelihood mu and sigma of a normal truncated at 0, for data of mean 1 and mean square `ratio`.

    Let t = -mu / sigma, and m(t) the mean of Z - t for a standard normal Z above t. The distribution has mean sigma m
    and mean square sigma^2 (1 - t m). The mean square over the squared mean rises with t from 1 to 2 (the exponential),
    so there is one root. For larger ratios the maximum is that limit: truncation `LARGEST_TRUNCATION` sigma above the
    mean.
    """
    from scipy import optimize

    def gap(t: float) -> float:
        over = _mean_beyond(t)
        square = 1 / t**2 * (2 - 10 / t**2) if t > 50 else 1 - t * over
        return square / over**2 - ratio

    if gap(LARGEST_TRUNCATION) <= 0:
        t = LARGEST_TRUNCATION
    elif gap(-1 / MIN_RELATIVE_SPREAD) >= 0:
        t = -1 / MIN_RELATIVE_SPREAD
    else:
        t = float(optimize.brentq(gap, -1 / MIN_RELATIVE_SPREAD, LARGEST_TRUNCATION, xtol=1e-13, rtol=1e-14))
    sigma = 1 / _mean_beyond(t)
    return -t * sigma, sigma


def _truncated_normal(sample: _Sample) -> _Estimate:
    """One root from the mean square over the squared mean; with a cap, two variables on sufficient statistics."""
    from scipy import special

    seen = sample.seen
    mean = sample.total(sample.x) / seen
    variance = sample.total((sample.x / mean - 1) ** 2) / seen
    constant = -seen * (float(np.log(mean)) + 0.5 * float(np.log(2 * np.pi)))

    def log_likelihood(t: float, sigma: float) -> float:
        """At t = -mu / sigma, in units of the mean."""
        inside = float(special.log_ndtr(-t))
        squares = (variance + (1 + t * sigma) ** 2) / sigma**2
        value = constant - seen * (float(np.log(sigma)) + squares / 2 + inside)
        if sample.censored:
            value += sample.censored * (float(special.log_ndtr(-t - sample.cap / mean / sigma)) - inside)
        return value

    def censored(point: Floats) -> float:
        """At asinh(t) and the log of the distribution's mean."""
        t = float(np.sinh(point[0]))
        if t > LARGEST_TRUNCATION:
            return -np.inf
        return log_likelihood(t, float(np.exp(point[1])) / _mean_beyond(t))

    mu, sigma = half_line_normal(1 + variance)
    t = -mu / sigma
    if sample.censored:
        point, _ = _simplex(censored, [float(np.arcsinh(min(t, LARGEST_TRUNCATION / 10))), 0.0])
        t = float(np.sinh(point[0]))
        sigma = float(np.exp(point[1])) / _mean_beyond(t)
    return _Estimate({"mu": -t * sigma * mean, "sigma": sigma * mean}, log_likelihood(t, sigma))


ESTIMATORS: dict[str, Callable[[_Sample], _Estimate]] = {
    "exponential": _exponential,
    "lognormal": _lognormal,
    "gamma": _gamma,
    "weibull": _weibull,
    "inverse_gaussian": _inverse_gaussian,
    "loglogistic": _loglogistic,
    "lomax": _lomax,
    "burr12": _burr,
    "pareto": _pareto,
    "lognormal_mixture": _lognormal_mixture,
    "exponential_mixture": _exponential_mixture,
    "gamma_mixture": _gamma_mixture,
    # token counts do not follow these two: if one is best, something is odd
    "truncated_normal": _truncated_normal,
    "uniform": _uniform,
}
FAMILIES = tuple(ESTIMATORS)
MIXTURES = tuple(family for family in FAMILIES if family.endswith("_mixture"))
NESTED = {
    ("exponential", "gamma"): 1,
    ("exponential", "weibull"): 1,
    ("lomax", "burr12"): 1,
    ("loglogistic", "burr12"): 1,
}


def _ks_distance(sample: _Sample, family: str, params: dict[str, float]) -> float:
    """Largest gap between fitted and empirical distribution function, before and after each step below the cap."""
    after = np.cumsum(sample.c) / sample.n
    before = np.concatenate(([0.0], after[:-1]))
    fitted = cdf(family, params, sample.x)
    distance = max(float(np.abs(fitted - after).max()), float(np.abs(fitted - before).max()))
    if sample.censored:
        distance = max(distance, abs(float(cdf(family, params, sample.cap)) - float(after[-1])))
    return distance


def _unranked(sample: _Sample, family: str) -> Fit:
    """The fit of one family, without what depends on the others (weights, rank)."""
    estimate = ESTIMATORS[family](sample)
    size, log_likelihood = len(estimate.params), float(estimate.log_likelihood)
    observed, hidden = sample.observed_quantiles
    errors = quantile(family, estimate.params, ERROR_QUANTILES) / observed - 1
    q50, q90, q95, q99 = (None if is_hidden else float(error) for error, is_hidden in zip(errors, hidden, strict=True))
    return Fit(
        family=family,
        params={name: float(value) for name, value in estimate.params.items()},
        n=sample.n,
        log_likelihood=log_likelihood,
        n_params=size,
        aic=2 * size - 2 * log_likelihood,
        bic=size * float(np.log(sample.n)) - 2 * log_likelihood,
        aic_weight=0.0,
        bic_weight=0.0,
        ks_distance=_ks_distance(sample, family, estimate.params),
        ks_limit=max(NO_FIT_DISTANCE, CHANCE_DISTANCES[family] / float(np.sqrt(sample.n))),
        accepted=False,
        rank=0,
        q50_error=q50,
        q90_error=q90,
        q95_error=q95,
        q99_error=q99,
    )


def _weights(criteria: Floats, selectable: npt.NDArray[np.bool_]) -> Floats:
    relative = np.exp(-np.where(selectable, criteria - criteria[selectable].min(), np.inf) / 2)
    normalised: Floats = relative / relative.sum()
    return normalised


def _compare(sample: _Sample, first: Fit, second: Fit) -> Comparison | None:
    """Vuong's test, or for nested families the likelihood ratio test; None if both agree at every row."""
    from scipy import special

    for smaller, larger in ((first, second), (second, first)):
        if freedom := NESTED.get((smaller.family, larger.family)):
            statistic = max(2 * (larger.log_likelihood - smaller.log_likelihood), 0.0)
            p_value = float(special.chdtrc(freedom, statistic))
            return Comparison(first.family, second.family, "likelihood_ratio", statistic, p_value)
    with np.errstate(all="ignore"):
        one, other = LAWS[first.family], LAWS[second.family]
        ratio = one.log_density(first.params, sample.x) - other.log_density(second.params, sample.x)
        rows = sample.rows
        if sample.censored:
            cap = np.array([sample.cap])
            ratio = np.append(ratio, one.log_survival(first.params, cap) - other.log_survival(second.params, cap))
            rows = np.append(rows, sample.censored)
    if not np.isfinite(ratio).all():
        return None
    mean = dot(ratio, rows) / sample.n
    deviation = float(np.sqrt(dot((ratio - mean) ** 2, rows) / sample.n))
    if not deviation > 1e-9:
        return None
    z = float(np.sqrt(sample.n)) * mean / deviation
    return Comparison(first.family, second.family, "vuong", z, float(2 * special.ndtr(-abs(z))))


def fit_families(
    values: npt.ArrayLike,
    counts: npt.ArrayLike,
    cap: float | None = None,
    *,
    families: Sequence[str] = FAMILIES,
    unselectable: Sequence[str] = (),
) -> FamilyFits:
    """Fit every family by maximum likelihood and rank them by BIC (ties by name).

    Rows at or above `cap` are right-censored there. Families in `unselectable` are fitted but rank last: for example
    mixtures on a column with atoms, because a component would fit the atom. Fewer than two distinct positive values
    below the cap, or values within one part in a million of each other, give status `too_few` and no fit.

    Raises:
        ValueError: the pairs are malformed (see `check_pairs`), or the cap is not positive.
        KeyError: a family is unknown.

    """
    x, c = check_pairs(values, counts)
    if cap is not None and not cap > 0:
        raise ValueError("a cap must be positive")
    excluded = int(c[x <= 0].sum())
    limit = np.inf if cap is None else cap
    seen = (x > 0) & (x < limit)
    sample = _Sample(x[seen], c[seen], limit, int(c[(x > 0) & (x >= limit)].sum()))
    if len(sample.x) < 2 or (sample.x[-1] - sample.x[0]) <= MIN_RELATIVE_SPREAD * sample.x[-1]:
        note = f"too few: {len(sample.x)} distinct positive values to fit, in {sample.n} rows"
        return FamilyFits("too_few", (), sample.n, excluded, sample.censored, note)

    unranked = [_unranked(sample, family) for family in families]
    selectable = np.array([family not in unselectable for family in families])
    aic, bic = np.array([fit.aic for fit in unranked]), np.array([fit.bic for fit in unranked])
    aic_weights, bic_weights = _weights(aic, selectable), _weights(bic, selectable)
    least_aic = aic[selectable].min()
    order = sorted(range(len(families)), key=lambda index: (not selectable[index], bic[index], families[index]))
    fits = [
        replace(
            unranked[index],
            aic_weight=float(aic_weights[index]),
            bic_weight=float(bic_weights[index]),
            accepted=bool(selectable[index] and aic[index] - least_aic < ACCEPTED_AIC_DIFFERENCE),
            rank=rank,
            selectable=bool(selectable[index]),
        )
        for rank, index in enumerate(order, start=1)
    ]
    best = fits[0]
    note = ""
    if not any(fit.passes for fit in fits):
        note = f"no simple family fits: the best, {best.label}, is {best.ks_distance:.3f} away (KS distance)"
    comparison = _compare(sample, best, fits[1]) if len(fits) > 1 and fits[1].selectable else None
    return FamilyFits("fitted", tuple(fits), sample.n, excluded, sample.censored, note, comparison)
