"""Measures of the upper tail of (value, count) pairs.

Belongs here: Hill, generalized Pareto (GPD) and Clauset-Shalizi-Newman (CSN) estimates, Vuong's z of a power law
against a lognormal and an exponential, all truncated at xmin, and the bootstrap p-value of a power law.
Does not belong here: fits of the whole column (`families`), and whether a tail can be measured (`detection`): on a
capped column these numbers are meaningless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.analysis.stats.describe import Counts, Floats, check_pairs, dot, quantiles
from pipeline.analysis.stats.families import half_line_normal

MIN_TAIL_ROWS = 50  # rows at or above xmin, and rows above the GPD threshold
MIN_TAIL_VALUES = 10  # distinct values among them
MIN_HILL_ROWS = 10
INFINITE_VARIANCE = 0.5  # from this tail index xi the second moment is infinite
BODY_CELLS = 100
TAIL_CELLS = 200
STARTS = 60  # candidates for xmin in a repetition
PROBES = (8, 64, 512)  # number of points for a lower bound of a tail's KS distance, coarse to fine
PROBE_CELLS = 250_000  # points computed at once: 2 MB per array


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
    """Continuous power law above `xmin`: density (alpha - 1) / xmin * (x / xmin) ** -alpha over `n` rows.

    `z_lognormal` is Vuong's normalised log-likelihood ratio against the lognormal truncated at xmin: positive favours
    the power law; 0 means that the best such lognormal is its limit, the power law itself. `z_exponential` is the same
    against the exponential truncated at xmin.
    """

    alpha: float
    xmin: float
    n: int
    ks_distance: float
    z_lognormal: float
    z_exponential: float


def hill(values: npt.ArrayLike, counts: npt.ArrayLike, fraction: float) -> float | None:
    """Hill's estimate of the tail index xi = 1 / alpha from the largest `fraction` of all rows (Hill, 1975).

    The mean of log(x / threshold) over the k = floor(fraction * n) largest rows; the threshold is the next row. None if
    k is below `MIN_HILL_ROWS`, the threshold is not positive, or all k rows equal it.
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
    """Maximum-likelihood GPD, shape at least -1, of the rows above the type-7 quantile at `probability`.

    Grimshaw's (1993) profile in theta = xi / scale: a grid, then a refinement. None with fewer than `MIN_TAIL_ROWS`
    rows or `MIN_TAIL_VALUES` distinct values above the threshold.
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
        return dot(weight, np.log1p(theta * scaled))

    def mean_log_likelihood(theta: float) -> float:
        """Per row, in units of the mean excess; the exponential (theta = 0) has the value -1."""
        if abs(theta) < 1e-9:
            return -1.0
        xi = shape(theta)
        if xi < -1:
            return -np.inf
        return -float(np.log(xi / theta)) - xi - 1

    negative = lowest * (1 - np.geomspace(1e-9, 1, 20, endpoint=False))
    grid = np.concatenate((negative, [0.0], np.geomspace(1e-4, 1e6, 32)))
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


def mean_excess(values: npt.ArrayLike, counts: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Mean excess over each distinct value that has at least `MIN_HILL_ROWS` rows above it.

    It rises linearly for a generalized Pareto tail with xi > 0, is constant for an exponential, and falls under a cap.
    """
    x, c = check_pairs(values, counts)
    rows = np.cumsum(c[::-1])[::-1] - c
    sums = np.cumsum((c * x)[::-1])[::-1] - c * x
    kept = rows >= MIN_HILL_ROWS
    return x[kept], sums[kept] / rows[kept] - x[kept]


def variance_in_doubt(xi: float | None) -> bool | None:
    """Whether the variance may be infinite (a tail index of at least 1/2), so that sd and CV mean little."""
    return None if xi is None else xi >= INFINITE_VARIANCE


def _tail_exponents(logs: Floats, counts: Counts) -> tuple[Floats, Counts]:
    """Maximum-likelihood alpha and number of rows of the tail that starts at each distinct value, by suffix sums."""
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
    """For each start, the largest gap at `probes` values across its tail: a lower bound of the tail's KS distance.

    `below[i]` is the number of rows below distinct value i; the last entry is `total`.
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
    """The start with the smallest KS distance (the first of equals): exact, by branch and bound with finer bounds."""
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


def _vuong(ratio: Floats, counts: Counts | Floats) -> float:
    """Vuong's z from log-likelihood ratios; 0 if both distributions agree at every row."""
    counts = counts.astype(np.float64)
    rows = float(counts.sum())
    average = dot(ratio, counts) / rows
    deviation = float(np.sqrt(dot((ratio - average) ** 2, counts) / rows))
    return float(np.sqrt(rows)) * average / deviation if deviation > 0 else 0.0


def _vuong_against_lognormal(excess: Floats, counts: Counts) -> float:
    """Vuong's z of an exponential t = log(x / xmin) against a normal t truncated at 0.

    The power law is the limit of such lognormals, and the best of them if mean(t^2) >= 2 mean(t)^2.
    """
    from scipy import special

    weights = counts.astype(np.float64)
    rows = float(weights.sum())
    t = excess / (dot(excess, weights) / rows)
    second = dot(t * t, weights) / rows
    if second >= 2:
        return 0.0
    mu, sigma = half_line_normal(second)
    constant = np.log(sigma) + 0.5 * np.log(2 * np.pi) + float(special.log_ndtr(mu / sigma))
    return _vuong(-t + 0.5 * ((t - mu) / sigma) ** 2 + constant, counts)


def _vuong_against_exponential(x: Floats, counts: Counts, alpha: float) -> float:
    """Vuong's z of the power law against an exponential x - xmin with the same mean."""
    mean = dot(x - x[0], counts.astype(np.float64)) / int(counts.sum())
    ratio = np.log((alpha - 1) / x[0]) - alpha * np.log(x / x[0]) + np.log(mean) + (x - x[0]) / mean
    return _vuong(ratio, counts)


def power_law(values: npt.ArrayLike, counts: npt.ArrayLike, min_rows: int = MIN_TAIL_ROWS) -> PowerLaw | None:
    """Clauset, Shalizi and Newman (2009): the xmin with the smallest KS distance among all distinct positive values.

    A candidate has at least `min_rows` rows and `MIN_TAIL_VALUES` distinct values at or above it. None without any.
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
    against_lognormal = _vuong_against_lognormal(logs[start:] - logs[start], c[start:])
    against_exponential = _vuong_against_exponential(x[start:], c[start:], float(alpha[start]))
    return PowerLaw(
        float(alpha[start]), float(x[start]), int(rows[start]), distance, against_lognormal, against_exponential
    )


def _edges(logs: Floats, counts: Counts, start: int, alpha: float) -> Floats:
    """Edges of the bootstrap's cells: body cells at quantiles of the rows, tail cells of equal fitted probability.

    At most `BODY_CELLS` cells are below log(xmin), which is one of the edges; the last cell is open.
    """
    upto = np.cumsum(counts[:start])
    body = np.empty(0)
    if start:
        wanted = np.linspace(0, upto[-1], BODY_CELLS + 1)[:-1]
        body = np.unique(logs[:start][np.searchsorted(upto, wanted, side="right")])
    tail = logs[start] - np.log1p(-np.arange(TAIL_CELLS) / TAIL_CELLS) / (alpha - 1)
    edges: Floats = np.concatenate((body, tail))
    return edges


def _cell_distances(
    rows: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
    edges: Floats,
    starts: Sequence[int],
    near: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Smallest KS distance over the starts, for each repetition in `rows` (counts per cell) and `sums` (of their logs).

    The distance is computed on the edges only. A start needs at least `MIN_TAIL_ROWS` rows above it. Once a distance
    is below `near`, no smaller one is searched for.
    """
    above = np.cumsum(rows[:, ::-1], axis=1)[:, ::-1]
    sums_above = np.cumsum(sums[:, ::-1], axis=1)[:, ::-1]
    least = np.full(len(rows), np.inf)
    for start in starts:
        searched = np.flatnonzero(least >= near)
        n = above[searched, start]
        mean_excess = sums_above[searched, start] / np.maximum(n, 1) - edges[start]
        rate = 1 / np.maximum(mean_excess, 1e-12)
        fitted = np.exp(-rate[:, None] * (edges[start + 1 :] - edges[start])[None, :])
        gap = np.abs(fitted - above[searched, start + 1 :] / np.maximum(n, 1)[:, None]).max(axis=1)
        least[searched] = np.minimum(least[searched], np.where(n >= MIN_TAIL_ROWS, gap, np.inf))
    return least


def power_law_p_value(
    values: npt.ArrayLike, counts: npt.ArrayLike, law: PowerLaw, seed: int, repetitions: int = 200
) -> float | None:
    """Semi-parametric bootstrap of Clauset, Shalizi and Newman (2009): the probability of so large a distance.

    Each repetition draws the rows below xmin from the column and those above from the power law, then estimates xmin
    and alpha again. All repetitions run at once on counts in cells (`BODY_CELLS` below xmin, `TAIL_CELLS` of equal
    fitted probability above), with `STARTS` candidates for xmin. The observed column is measured on the same cells and
    counts as one more repetition, so p is never 0. Its standard error is sqrt(p (1 - p) / repetitions). None if no cell
    can be an xmin. The same seed gives the same p.

    Raises:
        ValueError: the pairs are malformed, or have no value `law.xmin`.

    """
    x, c = check_pairs(values, counts)
    x, c = x[x > 0], c[x > 0]
    start = int(np.searchsorted(x, law.xmin))
    if start >= len(x) or x[start] != law.xmin:
        raise ValueError("the power law belongs to another column: no row has its xmin")
    logs = np.log(x)
    edges = _edges(logs, c, start, law.alpha)
    cells = np.clip(np.searchsorted(edges, logs, side="right") - 1, 0, len(edges) - 1)
    observed = np.bincount(cells, c, len(edges)).astype(np.float64)
    observed_sums = np.bincount(cells, c * logs, len(edges)).astype(np.float64)
    first_tail = len(edges) - TAIL_CELLS
    above = np.cumsum(observed[::-1])[::-1]
    usable = np.flatnonzero((above >= MIN_TAIL_ROWS) & (np.arange(len(edges)) <= len(edges) - MIN_TAIL_VALUES))
    if len(usable) == 0:
        return None
    spread = usable[np.linspace(0, len(usable) - 1, STARTS).astype(np.int64)].tolist()
    starts = [first_tail, *sorted({*spread} - {first_tail})]
    total, tail_rows = int(c.sum()), int(c[start:].sum())
    random = np.random.default_rng(seed)
    in_tail = random.binomial(total, tail_rows / total, repetitions)
    rows = np.zeros((repetitions, len(edges)))
    means = np.zeros(len(edges))
    if start:
        body = observed[:first_tail]
        rows[:, :first_tail] = random.multinomial(total - in_tail, body / body.sum())
        means[:first_tail] = np.divide(observed_sums[:first_tail], body, out=np.zeros(first_tail), where=body > 0)
    rows[:, first_tail:] = random.multinomial(in_tail, np.full(TAIL_CELLS, 1 / TAIL_CELLS))
    scale = 1 / (law.alpha - 1)
    widths = np.diff(edges[first_tail:])
    means[first_tail:-1] = edges[first_tail:-1] + scale - widths / np.expm1(widths / scale)
    sums = rows * means
    last = rows[:, -1]
    sums[:, -1] = last * edges[-1] + scale * random.gamma(np.maximum(last, 1e-9))
    (distance,) = _cell_distances(observed[None, :], observed_sums[None, :], edges, starts)
    simulated = _cell_distances(rows, sums, edges, starts, near=distance)
    return (1 + int((simulated >= distance).sum())) / (1 + repetitions)
