"""Measures of the upper tail of (value, count) pairs.

Belongs here: Hill, generalized Pareto (GPD) and Clauset-Shalizi-Newman (CSN) estimates, and Vuong's z of a power law
against a lognormal, both truncated at xmin.
Does not belong here: fits of the whole column (`families`) and the question whether a tail may be measured at all: on a
capped column these numbers mean nothing (`detection`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.stats.describe import Counts, Floats, check_pairs, quantiles

MIN_TAIL_ROWS = 50  # rows at or above xmin, and rows above the GPD threshold
MIN_TAIL_VALUES = 10  # distinct values among them
MIN_HILL_ROWS = 10
PROBES = (8, 64, 512)  # points of a tail at which its KS distance is bounded from below, coarse to fine
PROBE_CELLS = 250_000  # cells of one block of these bounds: 2 MB an array


@dataclass(frozen=True)
class GeneralizedPareto:
    """GPD of the excesses over `threshold`; `likelihood_ratio` = 2 (log L - log L of the exponential, xi = 0)."""

    xi: float
    scale: float
    threshold: float
    n: int
    likelihood_ratio: float


@dataclass(frozen=True)
class PowerLaw:
    """Continuous power law from `xmin` on: density (alpha - 1) / xmin * (x / xmin) ** -alpha over `n` rows.

    `z_lognormal` is Vuong's normalised log-likelihood ratio against the lognormal truncated at xmin: positive favours
    the power law, and 0 says that the best such lognormal is the power law itself, its limit.
    """

    alpha: float
    xmin: float
    n: int
    ks_distance: float
    z_lognormal: float


def hill(values: npt.ArrayLike, counts: npt.ArrayLike, fraction: float) -> float | None:
    """Hill's estimate of the tail index xi = 1 / alpha from the largest `fraction` of all rows (Hill, 1975).

    The mean of log(x / threshold) over the k = floor(fraction * n) largest rows, the threshold being the next row. None
    where k is below `MIN_HILL_ROWS`, the threshold is not positive, or the k rows all equal it.
    """
    x, c = check_pairs(values, counts)
    rows = int(c.sum())
    largest = int(np.floor(fraction * rows * (1 + 1e-12)))
    if largest < MIN_HILL_ROWS or largest >= rows:
        return None
    taken_above = np.cumsum(c[::-1])
    index = len(x) - 1 - int(np.searchsorted(taken_above, largest, side="right"))
    threshold = float(x[index])
    if threshold <= 0:
        return None
    total = float(np.sum(c[index + 1 :] * np.log(x[index + 1 :] / threshold)))
    return total / largest if total > 0 else None


def generalized_pareto(values: npt.ArrayLike, counts: npt.ArrayLike, probability: float) -> GeneralizedPareto | None:
    """GPD by maximum likelihood over the rows above the type-7 quantile at `probability`, shape at least -1.

    Grimshaw's (1993) profile in theta = xi / scale, scanned and then refined. None with fewer than `MIN_TAIL_ROWS` rows
    or `MIN_TAIL_VALUES` distinct values above the threshold.
    """
    from scipy import optimize

    x, c = check_pairs(values, counts)
    if len(x) == 0:
        return None
    threshold = float(quantiles(x, c, probability)[0])
    above = x > threshold
    rows = int(c[above].sum())
    if rows < MIN_TAIL_ROWS or int(above.sum()) < MIN_TAIL_VALUES:
        return None
    excess = x[above] - threshold
    mean = float(np.sum(excess * c[above]) / rows)
    scaled, weight = excess / mean, c[above] / rows
    lowest = -1 / float(scaled[-1])

    def shape(theta: float) -> float:
        return float(np.sum(weight * np.log1p(theta * scaled)))

    def mean_log_likelihood(theta: float) -> float:
        """Per row, in units of the mean excess; theta = 0 is the exponential, whose value is -1."""
        if abs(theta) < 1e-9:
            return -1.0
        xi = shape(theta)
        if xi < -1:
            return -np.inf
        return -float(np.log(xi / theta)) - xi - 1

    negative = lowest * (1 - np.geomspace(1e-9, 1, 40, endpoint=False))
    grid = np.concatenate((negative, [0.0], np.geomspace(1e-4, 1e6, 80)))
    heights = np.array([mean_log_likelihood(theta) for theta in grid])
    peak = int(np.argmax(heights))
    left, right = grid[max(peak - 1, 0)], grid[min(peak + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        lambda theta: -max(mean_log_likelihood(float(theta)), -1e300),
        bounds=(left, right),
        method="bounded",
        options={"xatol": 1e-12 * max(abs(left), abs(right), 1e-3), "maxiter": 200},
    )
    theta, best = float(found.x), -float(found.fun)
    if heights[peak] > best:
        theta, best = float(grid[peak]), float(heights[peak])
    xi = 0.0 if abs(theta) < 1e-9 else shape(theta)
    scale = mean if abs(theta) < 1e-9 else mean * xi / theta
    return GeneralizedPareto(xi, scale, threshold, rows, max(2 * rows * (best + 1), 0.0))


def _tail_exponents(logs: Floats, counts: Counts) -> tuple[Floats, Counts]:
    """Maximum-likelihood alpha and the number of rows for a tail from each distinct value on, by suffix sums."""
    rows = np.cumsum(counts[::-1])[::-1]
    sums = np.cumsum((counts * (logs - logs[0]))[::-1])[::-1]
    mean_excess = sums / rows - (logs - logs[0])
    with np.errstate(divide="ignore"):
        alpha = np.where(mean_excess > 0, 1 + 1 / mean_excess, np.inf)
    return alpha, rows


def _ks_of_tail(logs: Floats, counts: Counts, start: int, alpha: float) -> float:
    after = np.cumsum(counts[start:]) / counts[start:].sum()
    fitted = -np.expm1((1 - alpha) * (logs[start:] - logs[start]))
    before = np.concatenate(([0.0], after[:-1]))
    return float(max(np.abs(fitted - after).max(), np.abs(fitted - before).max()))


def _lower_bounds(
    logs: Floats, below: Floats, total: int, starts: npt.NDArray[np.int64], alpha: Floats, probes: int
) -> Floats:
    """For each start, the largest gap at `probes` values spread over its tail: never above the KS distance of the tail.

    `below[i]` is the number of rows under distinct value i, with `total` appended at the end.
    """
    bounds = np.empty(len(starts))
    share = (np.arange(probes) + 0.5) / probes
    for first in range(0, len(starts), max(PROBE_CELLS // probes, 1)):
        block = starts[first : first + max(PROBE_CELLS // probes, 1)]
        tail = (total - below[block])[:, None]
        row = below[block][:, None] + share * tail
        at = np.searchsorted(below, row, side="right") - 1
        at = np.clip(at, block[:, None], len(logs) - 1)
        fitted = -np.expm1((1 - alpha[block])[:, None] * (logs[at] - logs[block][:, None]))
        gap_after = np.abs(fitted - (below[at + 1] - below[block][:, None]) / tail)
        gap_before = np.abs(fitted - (below[at] - below[block][:, None]) / tail)
        bounds[first : first + len(block)] = np.maximum(gap_after, gap_before).max(axis=1)
    return bounds


def _best_start(logs: Floats, counts: Counts, alpha: Floats, starts: npt.NDArray[np.int64]) -> tuple[int, float]:
    """The start of least KS distance (the smallest of equals): exact, by branch and bound over finer bounds."""
    below = np.concatenate(([0], np.cumsum(counts))).astype(np.float64)
    total = int(counts.sum())
    best, distance = -1, np.inf
    bounds = np.zeros(len(starts))
    for probes in PROBES:
        bounds = np.maximum(bounds, _lower_bounds(logs, below, total, starts, alpha, probes))
        candidate = int(starts[np.argmin(bounds)])
        exact = _ks_of_tail(logs, counts, candidate, float(alpha[candidate]))
        if exact < distance or (exact == distance and candidate < best):
            best, distance = candidate, exact
        kept = bounds <= distance
        starts, bounds = starts[kept], bounds[kept]
    for index in np.argsort(bounds, kind="stable"):
        if bounds[index] > distance:
            break
        candidate = int(starts[index])
        exact = _ks_of_tail(logs, counts, candidate, float(alpha[candidate]))
        if exact < distance or (exact == distance and candidate < best):
            best, distance = candidate, exact
    return best, distance


def _log_normaliser(beta: float, gamma: float) -> float:
    """log of the integral over t > 0 of exp(-beta t - gamma t^2 / 2)."""
    from scipy import special

    if gamma <= 0:
        return -float(np.log(beta)) if beta > 0 else np.inf
    z = beta / float(np.sqrt(2 * gamma))
    half = 0.5 * float(np.log(np.pi / (2 * gamma)))
    if z < 0:
        return half + z * z + float(np.log(special.erfc(z)))
    return half + float(np.log(special.erfcx(z)))


def _vuong_against_lognormal(excess: Floats, counts: Counts) -> float:
    """Vuong's z of the exponential law of t = log(x / xmin) against the normal law of t cut off below 0.

    The cut-off normal is exp(-beta t - gamma t^2 / 2) / Z, a concave exponential family whose limit gamma = 0 is the
    power law: with mean(t^2) >= 2 mean(t)^2 the best lognormal is that limit.
    """
    from scipy import optimize

    rows = int(counts.sum())
    mean = float(np.sum(excess * counts) / rows)
    t = excess / mean
    second = float(np.sum(t * t * counts) / rows)
    if second >= 2:
        return 0.0

    def loss(point: Floats) -> float:
        beta, gamma = float(point[0]), float(np.exp(point[1]))
        with np.errstate(all="ignore"):
            value = beta + gamma * second / 2 + _log_normaliser(beta, gamma)
        return value if np.isfinite(value) else np.inf

    point = np.array([0.5, np.log(0.5)])
    for _ in range(2):
        options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 2000}
        point = optimize.minimize(loss, point, method="Nelder-Mead", options=options).x
    beta, gamma = float(point[0]), float(np.exp(point[1]))
    lognormal = -beta * t - gamma * t * t / 2 - _log_normaliser(beta, gamma)
    ratio = -t - lognormal
    average = float(np.sum(ratio * counts) / rows)
    deviation = float(np.sqrt(np.sum((ratio - average) ** 2 * counts) / rows))
    return float(np.sqrt(rows)) * average / deviation if deviation > 0 else 0.0


def power_law(values: npt.ArrayLike, counts: npt.ArrayLike, min_rows: int = MIN_TAIL_ROWS) -> PowerLaw | None:
    """Clauset, Shalizi and Newman (2009): the xmin of least KS distance among all distinct positive values.

    Every xmin with at least `min_rows` rows and `MIN_TAIL_VALUES` distinct values at or above it is a candidate. None
    where there is none.
    """
    x, c = check_pairs(values, counts)
    x, c = x[x > 0], c[x > 0]
    if len(x) < MIN_TAIL_VALUES or int(c.sum()) < min_rows:
        return None
    logs = np.log(x)
    alpha, rows = _tail_exponents(logs, c)
    candidates = np.flatnonzero((rows >= min_rows) & np.isfinite(alpha))
    candidates = candidates[candidates <= len(x) - MIN_TAIL_VALUES]
    if len(candidates) == 0:
        return None
    start, distance = _best_start(logs, c, alpha, candidates)
    z = _vuong_against_lognormal(logs[start:] - logs[start], c[start:])
    return PowerLaw(float(alpha[start]), float(x[start]), int(rows[start]), distance, z)
